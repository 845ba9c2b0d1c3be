package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// A Limit is one setting of a name in words, for people.
type Limit struct {
	Name       string // as the flag of the command limit
	Value      string // that applies
	Defined    string // by workers; empty if they define none
	Overridden bool   // Value is that of the override
}

// Limits returns the settings of a name that are defined or overridden.
func Limits(n *backend.NameInfo) (all []Limit) {
	defined := backend.Override{Settings: n.Defined}
	if d := Lookup(n.Name); d != nil {
		defined.Concurrency = d.Concurrency
	}
	own, over := words(defined), words(n.Override)
	for i := range own {
		l := Limit{Name: own[i].Name, Value: own[i].Value, Defined: own[i].Value}
		if over[i].Value != "" {
			l.Value, l.Overridden = over[i].Value, true
		}
		if l.Value != "" {
			all = append(all, l)
		}
	}
	return all
}

// words returns all limits of o. The value of those that are not set is empty.
func words(o backend.Override) []Limit {
	number := func(n int, none string) string {
		switch {
		case n == 0:
			return ""
		case n < 0:
			return none
		}
		return strconv.Itoa(n)
	}
	rate := number(o.Rate, "none")
	if o.Rate > 0 {
		rate = fmt.Sprintf("%d in %v", o.Rate, o.Per)
	}
	all := []Limit{
		{Name: "max-running", Value: number(o.MaxRunning, "none")}, {Name: "rate", Value: rate},
		{Name: "concurrency", Value: number(o.Concurrency, "none")}, {Name: "max-crashes", Value: number(o.MaxCrashes, "none")},
		{Name: "keep-done"}, {Name: "keep-failed"}, {Name: "keep-rows", Value: number(o.History.Rows, "none")},
		{Name: "keep-bytes", Value: number(int(o.History.Bytes), "none")},
	}
	if d := o.History.Done; d != 0 {
		all[4].Value = max(d, 0).String()
	}
	if d := o.History.Failed; d != 0 {
		all[5].Value = max(d, 0).String()
	}
	for _, drop := range []struct {
		name string
		set  bool
	}{{"drop-done", o.History.DropDone}, {"drop-failed", o.History.DropFailed}} {
		l := Limit{Name: drop.name}
		if drop.set {
			l.Value = "yes"
		}
		all = append(all, l)
	}
	weights := Limit{Name: "weight"}
	for i, key := range slices.Sorted(maps.Keys(o.Weights)) {
		if i == 5 {
			weights.Value += fmt.Sprintf(", and %d more", len(o.Weights)-i)
			break
		}
		if i > 0 {
			weights.Value += ", "
		}
		weights.Value += fmt.Sprintf("%s=%d", key, o.Weights[key])
	}
	return append(all, weights)
}

// SettingsText returns settings in words, or "defaults".
func SettingsText(s backend.Settings) string { return OverrideText(backend.Override{Settings: s}) }

// OverrideText returns what an override changes in words, or "defaults".
func OverrideText(o backend.Override) string {
	var all []string
	for _, l := range words(o) {
		if l.Value != "" {
			all = append(all, l.Name+" "+l.Value)
		}
	}
	return cmp.Or(strings.Join(all, ", "), "defaults")
}
