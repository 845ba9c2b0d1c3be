package conformance

import (
	"errors"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

func (e *env) wantEnvironment(what, want string) {
	e.Helper()
	for i, b := range []backend.Backend{e.b, e.other()} {
		if got, err := capability[backend.SettingsStore](e, b).Environment(e.ctx); err != nil || got != want {
			e.Errorf("%s: handle %d returns the environment %q, %v; want %q", what, i+1, got, err, want)
		}
	}
}

func (e *env) setEnvironment(from, to string, want bool) {
	e.Helper()
	if moved, err := capability[backend.SettingsStore](e, e.b).SetEnvironment(e.ctx, from, to); err != nil || moved != want {
		e.Errorf("SetEnvironment from %q to %q = %v, %v; want %v", from, to, moved, err, want)
	}
}

var environmentCases = []testCase{{
	name: "environment/moves",
	rule: "a store has no environment until it is set, and it changes only if the caller names the current one",
	run: func(e *env) {
		e.wantEnvironment("at first", "")
		e.setEnvironment("production", "staging", false)
		e.setEnvironment("", "", true)
		e.setEnvironment("", "production", true)
		e.wantEnvironment("moved", "production")
		e.setEnvironment("", "staging", false)
		e.setEnvironment("staging", "test", false)
		e.setEnvironment("", "", false)
		e.wantEnvironment("not moved", "production")
		e.setEnvironment("production", "production", true)
		e.setEnvironment("production", "stáging 2", true)
		e.wantEnvironment("moved again", "stáging 2")
		e.setEnvironment("stáging 2", "", true)
		e.wantEnvironment("forgotten", "")
		h := capability[backend.SettingsStore](e, e.b)
		for _, to := range []string{strings.Repeat("x", 256), "a\x00b", "\xff"} {
			if _, err := h.SetEnvironment(e.ctx, "", to); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("SetEnvironment to %q… = %v, want ErrInvalid", to[:1], err)
			}
		}
		e.wantEnvironment("refused", "")
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
				e.Errorf("two calls have set the environment")
			}
			if m {
				winner = strings.Repeat("x", i+1)
			}
		}
		e.wantEnvironment("after a race", winner)
	},
}}
