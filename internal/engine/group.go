package engine

import (
	"fmt"
	"strconv"

	"github.com/plainjobs/plainjobs/backend"
)

// CallbackName returns the option that made a job a callback, or an empty string if it is
// none.
func CallbackName(w backend.When) string {
	switch w {
	case backend.WhenDone:
		return "OnDone"
	case backend.WhenEnded:
		return "OnEnd"
	case backend.WhenFailed:
		return "OnFailure"
	}
	return ""
}

// GroupName returns what people call a group or a flow, for example
// `group 7 (import of May)`.
func GroupName(g *backend.GateInfo) string {
	name := "group"
	if g.Kind == backend.FlowGate {
		name = "flow"
	}
	if g.Label == "" {
		return fmt.Sprintf("%s %d", name, g.ID)
	}
	return fmt.Sprintf("%s %d (%s)", name, g.ID, g.Label)
}

// GroupProgress returns how far a group has come, for example "61,204 of 100,000, 3 failed".
func GroupProgress(g *backend.GateInfo) string {
	return fmt.Sprintf("%s of %s%s", Thousands(g.Total-g.Open), Thousands(g.Total), GroupFailures(g))
}

// GroupFailures returns how many members did not succeed, for example ", 3 failed", or an
// empty string.
func GroupFailures(g *backend.GateInfo) (text string) {
	if g.Failed > 0 {
		text += ", " + Thousands(g.Failed) + " failed"
	}
	if g.Cancelled > 0 {
		text += ", " + Thousands(g.Cancelled) + " cancelled"
	}
	return text
}

// Thousands returns n with a comma between each three digits.
func Thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	first := len(text)
	if n < 0 {
		first--
	}
	for at := len(text) - 3; first > 3; at, first = at-3, first-3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
