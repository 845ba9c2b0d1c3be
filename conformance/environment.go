package conformance

import (
	"errors"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

func (e *env) wantHome(what, want string) {
	e.Helper()
	for i, b := range []backend.Backend{e.b, e.other()} {
		if got, err := capability[backend.SettingsStore](e, b).Environment(e.ctx); err != nil || got != want {
			e.Errorf("%s: handle %d says that the store belongs to %q, %v; want %q", what, i+1, got, err, want)
		}
	}
}

func (e *env) move(from, to string, want bool) {
	e.Helper()
	if moved, err := capability[backend.SettingsStore](e, e.b).SetEnvironment(e.ctx, from, to); err != nil || moved != want {
		e.Errorf("SetEnvironment from %q to %q = %v, %v; want %v", from, to, moved, err, want)
	}
}

var environmentCases = []testCase{{
	name: "environment/moves",
	rule: "a store has no environment until it is set, and it changes only if the caller names the current one",
	run: func(e *env) {
		e.wantHome("at first", "")
		e.move("production", "staging", false)
		e.move("", "", true)
		e.move("", "production", true)
		e.wantHome("moved", "production")
		e.move("", "staging", false)
		e.move("staging", "test", false)
		e.move("", "", false)
		e.wantHome("not moved", "production")
		e.move("production", "production", true)
		e.move("production", "stáging 2", true)
		e.wantHome("moved again", "stáging 2")
		e.move("stáging 2", "", true)
		e.wantHome("forgotten", "")
		h := capability[backend.SettingsStore](e, e.b)
		for _, to := range []string{strings.Repeat("x", 256), "a\x00b", "\xff"} {
			if _, err := h.SetEnvironment(e.ctx, "", to); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("SetEnvironment to %q… = %v, want ErrInvalid", to[:1], err)
			}
		}
		e.wantHome("refused", "")
	},
}, {
	name: "environment/race",
	rule: "of concurrent calls that set the environment of a store without one, exactly one succeeds",
	run: func(e *env) {
		stores := []backend.SettingsStore{capability[backend.SettingsStore](e, e.b), capability[backend.SettingsStore](e, e.other())}
		var all sync.WaitGroup
		moved := make([]bool, 8)
		for i := range moved {
			all.Go(func() {
				defer e.recoverShort()
				var err error
				if moved[i], err = stores[i%2].SetEnvironment(e.ctx, "", strings.Repeat("x", i+1)); err != nil {
					e.Errorf("Move: %v", err)
				}
			})
		}
		all.Wait()
		winner := ""
		for i, m := range moved {
			if m && winner != "" {
				e.Errorf("two have moved the store")
			}
			if m {
				winner = strings.Repeat("x", i+1)
			}
		}
		e.wantHome("after a race", winner)
	},
}}
