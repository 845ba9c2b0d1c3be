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
	sqlite map[string]string // versions, by driver
	server *server           // nil if none is measured
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
	if m.server != nil {
		text += "\n" + m.server.String()
	}
	return text
}
