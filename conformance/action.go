package conformance

import (
	"errors"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// recordAction records an action and requires that it succeeds.
func (e *env) recordAction(a backend.Action) backend.Action {
	e.Helper()
	stored, err := capability[backend.Operator](e, e.b).RecordAction(e.ctx, a)
	if err != nil {
		e.Fatalf("RecordAction of %+v: %v", a, err)
	}
	return stored
}

// actions returns a page of actions as another handle reads them.
func (e *env) actions(before int64, limit int) []backend.Action {
	e.Helper()
	all, err := capability[backend.Operator](e, e.other()).Actions(e.ctx, before, limit)
	if err != nil {
		e.Fatalf("Actions: %v", err)
	}
	return all
}

var actionCases = []testCase{{
	name: "action/record",
	rule: "an action gets an ID and the store's time, and is changed by its ID; the first end stays",
	run: func(e *env) {
		first := e.recordAction(backend.Action{By: "ada", What: "retry", On: "state=failed", Total: 10})
		e.advance(e.unit)
		second := e.recordAction(backend.Action{By: "bé", What: "pause", On: "jobs named a", Total: -1, End: "done"})
		if first.ID <= 0 || second.ID <= first.ID || first.At.IsZero() || first.SeenAt != first.At || second.At.Before(first.At.Add(e.unit)) {
			e.Errorf("RecordAction = %+v and %+v", first, second)
		}
		e.advance(e.unit)
		want := func(what string, got backend.Action) {
			e.Helper()
			if first.SeenAt = got.SeenAt; got != first || got.SeenAt.Before(second.At.Add(e.unit)) {
				e.Errorf("%s is %+v, want %+v", what, got, first)
			}
		}
		first.Jobs, first.Total = 7, 11
		want("the changed action", e.recordAction(backend.Action{ID: first.ID, Jobs: 7, Total: 11}))
		e.recordAction(backend.Action{ID: first.ID, Jobs: 8, End: "stopped by bé"})
		first.Jobs, first.Total, first.End = 9, 12, "stopped by bé"
		want("the ended action", e.recordAction(backend.Action{ID: first.ID, Jobs: 9, Total: 12, End: "done"}))
		if all := e.actions(0, 10); len(all) != 2 || all[0] != second || all[1] != first {
			e.Errorf("Actions = %+v, want %+v and %+v", all, second, first)
		}
		if all := e.actions(second.ID, 10); len(all) != 1 || all[0] != first {
			e.Errorf("Actions before %d = %+v", second.ID, all)
		}
		if all := e.actions(0, 1); len(all) != 1 || all[0] != second {
			e.Errorf("the latest action is %+v", all)
		}
		if _, err := capability[backend.Operator](e, e.b).RecordAction(e.ctx, backend.Action{ID: second.ID + 1}); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("RecordAction of an unknown action = %v, want ErrNotFound", err)
		}
	},
}, {
	name: "action/bounded",
	rule: "a store keeps the latest KeepActions actions",
	run: func(e *env) {
		var last backend.Action
		for range backend.KeepActions + 2 {
			last = e.recordAction(backend.Action{By: "ada", What: "retry"})
		}
		all := e.actions(0, backend.KeepActions)
		if n := len(all); n != backend.KeepActions || all[0].ID != last.ID || all[n-1].ID != last.ID-backend.KeepActions+1 {
			e.Errorf("after %d actions Actions returns %d", backend.KeepActions+2, n)
		}
		if older := e.actions(all[len(all)-1].ID, 10); len(older) > 0 {
			e.Errorf("older actions are kept: %d", len(older))
		}
	},
}, {
	name: "action/invalid",
	rule: "RecordAction and Actions refuse what package check refuses",
	run: func(e *env) {
		o := capability[backend.Operator](e, e.b)
		for _, a := range []backend.Action{
			{By: "a\x00"}, {What: "\xff"}, {On: strings.Repeat("x", 4097)}, {End: strings.Repeat("x", 4097)}, {By: strings.Repeat("x", 256)}, {Jobs: -1}, {ID: -1},
		} {
			if _, err := o.RecordAction(e.ctx, a); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("RecordAction of ID %d, %.20q by %.20q = %v, want ErrInvalid", a.ID, a.What, a.By, err)
			}
		}
		for _, limit := range []int{0, -1, backend.KeepActions + 1} {
			if _, err := o.Actions(e.ctx, 0, limit); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Actions with the limit %d = %v, want ErrInvalid", limit, err)
			}
		}
		e.recordAction(backend.Action{By: strings.Repeat("x", 255), On: strings.Repeat("é", 2048), End: "x"})
	},
}}
