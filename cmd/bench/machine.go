package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A machine is what the figures depend on.
type machine struct {
	harness.Machine
	sqlite  map[string]string // versions, by driver
	servers map[*driver]*server
}

func (m machine) String() string {
	text := m.Machine.String()
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(m.sqlite)) {
		versions = append(versions, name+" "+m.sqlite[name])
	}
	if len(versions) > 0 {
		text += "\nSQLite: " + strings.Join(versions, ", ")
	}
	for _, d := range drivers {
		if s := m.servers[d]; s != nil {
			text += "\n" + s.text
		}
	}
	return text
}
