package conformance

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// definer registers a worker that knows names.
func (e *env) definer(names ...string) backend.Worker {
	e.Helper()
	w := e.worker()
	w.Jobs = names
	e.claim(e.b, w, 0, names...)
	return w
}

// setBy is Set by a worker.
func (e *env) setBy(w backend.Worker, settings ...backend.Settings) (instead []backend.Settings) {
	e.Helper()
	for i := range settings {
		e.needs(check.SettingsFields(&settings[i]))
	}
	instead, err := capability[backend.SettingsStore](e, e.other()).Set(e.ctx, w.ID, settings)
	if err != nil {
		e.Fatalf("Set: %v", err)
	}
	return instead
}

func (e *env) leave(w backend.Worker) {
	e.Helper()
	if _, err := capability[backend.Heartbeater](e, e.b).Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
		e.Fatalf("Heartbeat: %v", err)
	}
}

func (e *env) override(o backend.Override, reset bool) {
	e.Helper()
	e.needs(check.SettingsFields(&o.Settings))
	if err := capability[backend.SettingsStore](e, e.other()).Override(e.ctx, o, reset); err != nil {
		e.Fatalf("Override: %v", err)
	}
}

// wantSettings checks what applies to a name, and whether workers differ.
func (e *env) wantSettings(when string, want backend.Settings, differ bool) {
	e.Helper()
	info, ok := e.nameInfo(want.Name)
	listed := differ || want != backend.Settings{Name: want.Name}
	if listed && !ok || ok && (info.Settings != want || info.Differ != differ) {
		e.Errorf("%s the settings are %+v, and workers differ: %v; want %+v, %v", when, info.Settings, info.Differ, want, differ)
	}
}

var defineCases = []testCase{{
	name: "define/strictest",
	rule: "if workers define different settings for a name, the strictest value of each field applies, and of the history the longest; Set returns it to the worker that defines another, and Names says that they differ",
	run: func(e *env) {
		loose := backend.Settings{
			Name: "a", MaxRunning: 9, Rate: 100, Per: time.Second, MaxCrashes: -1,
			History: backend.History{Done: 2 * time.Hour, Failed: -1, Rows: 7},
		}
		strict := backend.Settings{Name: "a", MaxRunning: 3, Rate: 100, Per: time.Minute, MaxCrashes: 2, History: backend.History{Done: time.Hour, Failed: time.Hour, Rows: 5}}
		want := strict
		want.History = backend.History{Done: 2 * time.Hour, Failed: time.Hour, Rows: 7}
		first, second := e.definer("a"), e.definer("a")
		if got := e.setBy(first, loose); len(got) != 0 {
			e.Errorf("Set of the first returned %+v", got)
		}
		e.wantSettings("With one worker", loose, false)
		if got := e.setBy(second, strict); !slices.Equal(got, []backend.Settings{want}) {
			e.Errorf("Set of the second returned %+v, want %+v", got, want)
		}
		e.wantSettings("With both", want, true)
		e.setBy(first, strict)
		e.wantSettings("With equal ones", strict, false)
		e.setBy(second)
		e.wantSettings("With one that defines nothing", backend.Settings{
			Name: "a", MaxRunning: 3, Rate: 100, Per: time.Minute, MaxCrashes: 2, // and the store's history
		}, true)
	},
}, {
	name: "define/leave",
	rule: "what a worker defines applies until it leaves: then what the others define does, also if that is nothing",
	run: func(e *env) {
		first, second := e.definer("a", "b"), e.definer("a", "b")
		e.setBy(first, backend.Settings{Name: "a", MaxRunning: 4})
		e.setBy(second, backend.Settings{Name: "a", MaxRunning: 1}, backend.Settings{Name: "b", MaxRunning: 2})
		e.wantSettings("With both", backend.Settings{Name: "a", MaxRunning: 1}, true)
		e.wantSettings("With both", backend.Settings{Name: "b", MaxRunning: 2}, true)
		ids := e.push(e.b, "a", 3)
		e.claim(e.b, first, 10, "a")
		e.leave(second)
		e.wantSettings("After one has left", backend.Settings{Name: "a", MaxRunning: 4}, false)
		e.wantSettings("After one has left", backend.Settings{Name: "b"}, false)
		e.wantIDs("Claim under the others' limit", e.claim(e.b, first, 10, "a"), ids[1:]...)
	},
}, {
	name: "define/dead",
	rule: "what a worker defines applies until Reap finds it dead",
	run: func(e *env) {
		first := e.definer("a")
		second := e.definer("a")
		e.setBy(first, backend.Settings{Name: "a", MaxRunning: 4})
		e.setBy(second, backend.Settings{Name: "a", MaxRunning: 1})
		e.reap(e.b, backend.ReapRequest{Dead: []int64{second.ID}})
		e.wantSettings("After one has died", backend.Settings{Name: "a", MaxRunning: 4}, false)
	},
}, {
	name: "define/leave-undefined",
	rule: "a worker that knows a name and defines nothing for it counts until it leaves or Reap finds it dead: then what the others define applies",
	run: func(e *env) {
		old, crashed, stays := e.definer("a"), e.definer("a"), e.definer("a", "b")
		e.setBy(old)
		e.setBy(crashed, backend.Settings{Name: "a"})
		defined := backend.Settings{Name: "a", MaxCrashes: 50, History: backend.History{DropDone: true, Rows: 3}}
		if got := e.setBy(stays, defined); len(got) != 1 {
			e.Errorf("Set returned %+v, want what applies with the others", got)
		}
		e.leave(old)
		if info, _ := e.nameInfo("a"); info.Settings == defined || !info.Differ {
			e.Errorf("while one of the others lives, the name is %+v", info)
		}
		e.reap(e.b, backend.ReapRequest{Dead: []int64{crashed.ID}})
		e.wantSettings("After one has died", defined, false)
		again := e.definer("a")
		e.setBy(again)
		e.leave(again)
		e.wantSettings("After one has left", defined, false)
	},
}, {
	name: "define/last",
	rule: "a name of which no worker with a row knows keeps its settings; one that knows it and defines nothing removes them, with its first Set",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 7})
		e.wantSettings("Set by no worker", backend.Settings{Name: "a", MaxRunning: 7}, false)
		w := e.definer("a")
		e.setBy(w, backend.Settings{Name: "a", MaxRunning: 2})
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 8})
		e.wantSettings("While a worker defines it", backend.Settings{Name: "a", MaxRunning: 2}, false)
		e.leave(w)
		e.wantSettings("Without a worker", backend.Settings{Name: "a", MaxRunning: 2}, false)
		other := e.definer("b")
		e.setBy(other)
		e.wantSettings("With a worker that does not know the name", backend.Settings{Name: "a", MaxRunning: 2}, false)
		knows := e.definer("a")
		e.wantSettings("With a worker that has not called Set", backend.Settings{Name: "a", MaxRunning: 2}, false)
		e.setBy(knows)
		e.wantSettings("With a worker that defines nothing", backend.Settings{Name: "a"}, false)
	},
}, {
	name: "define/race",
	rule: "workers that come, define, claim and leave at the same time leave what the others define",
	run: func(e *env) {
		e.needs(backend.FieldMaxRunning)
		stays := e.definer("a", "b")
		e.setBy(stays, backend.Settings{Name: "a", MaxRunning: 50}, backend.Settings{Name: "b", MaxRunning: 60})
		e.push(e.b, "a", 20)
		e.push(e.b, "b", 20)
		e.atOnce(8, func(i int, b backend.Backend) {
			store, beats := capability[backend.SettingsStore](e, b), capability[backend.Heartbeater](e, b)
			for n := range 3 {
				w := e.worker()
				w.Jobs = []string{"a", "b"}
				w.Lease = time.Hour
				settings := []backend.Settings{{Name: "b", MaxRunning: 10 + i}, {Name: "a", MaxRunning: 10 + n}}
				if _, err := b.Claim(e.ctx, request(w, 0, "a", "b")); err != nil {
					e.Errorf("Claim: %v", err)
				}
				if _, err := store.Set(e.ctx, w.ID, settings); err != nil {
					e.Errorf("Set: %v", err)
				}
				if _, err := b.Claim(e.ctx, request(w, 1, "a", "b")); err != nil {
					e.Errorf("Claim: %v", err)
				}
				if _, err := beats.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
					e.Errorf("Heartbeat: %v", err)
				}
			}
		})
		e.wantSettings("Afterwards", backend.Settings{Name: "a", MaxRunning: 50}, false)
		e.wantSettings("Afterwards", backend.Settings{Name: "b", MaxRunning: 60}, false)
	},
}, {
	name: "define/gone",
	rule: "Set by a worker without a row returns ErrWorkerGone and changes nothing",
	run: func(e *env) {
		_, err := capability[backend.SettingsStore](e, e.b).Set(e.ctx, e.worker().ID, []backend.Settings{{Name: "a"}})
		if !errors.Is(err, backend.ErrWorkerGone) {
			e.Errorf("Set = %v, want ErrWorkerGone", err)
		}
		e.wantSettings("Afterwards", backend.Settings{Name: "a"}, false)
	},
}, {
	name: "override/wins",
	rule: "an override applies instead of what workers define, at once and for all processes, whatever workers define and leave; Names shows it with its author and time, and what is defined",
	run: func(e *env) {
		w := e.definer("a")
		defined := backend.Settings{Name: "a", MaxRunning: 5, MaxCrashes: 4}
		e.setBy(w, defined)
		ids := e.push(e.b, "a", 6)
		running := e.claim(e.b, w, 3, "a")
		begin := e.now()
		e.override(backend.Override{Settings: backend.Settings{Name: "a", MaxRunning: 2}, By: "ann"}, false)
		e.wantIDs("Claim with fewer allowed than run", e.claim(e.b, w, 10, "a"))
		e.complete(e.b, running[0].Lease)
		e.wantIDs("Claim with as many running as are allowed", e.claim(e.b, w, 10, "a"))
		e.complete(e.b, running[1].Lease)
		e.wantIDs("Claim with fewer running", e.claim(e.b, w, 10, "a"), ids[3])
		applies := backend.Settings{Name: "a", MaxRunning: 2, MaxCrashes: 4}
		if got := e.setBy(w, defined); !slices.Equal(got, []backend.Settings{applies}) {
			e.Errorf("Set returned %+v, want %+v", got, applies)
		}
		info, _ := e.nameInfo("a")
		if o := info.Override; info.Settings != applies || info.Defined != defined || o.By != "ann" || o.At.Before(begin) || o.At.After(e.now()) ||
			o.Settings != (backend.Settings{Name: "a", MaxRunning: 2}) {
			e.Errorf("the name is %+v", info)
		}
		e.leave(w)
		e.wantSettings("Without a worker", applies, false)
		e.setBy(e.definer("a"))
		e.wantSettings("With another definition", backend.Settings{Name: "a", MaxRunning: 2}, false)
	},
}, {
	name: "override/fields",
	rule: "an override changes the fields that it gives and leaves the others; a negative MaxRunning or Rate lifts the bound; with reset, the fields that it does not give are those of the workers again, of now",
	run: func(e *env) {
		w := e.definer("a")
		e.setBy(w, backend.Settings{Name: "a", MaxRunning: 5, Rate: 3, Per: time.Minute, MaxCrashes: 4, History: backend.History{Rows: 9}})
		e.override(backend.Override{Settings: backend.Settings{Name: "a", MaxRunning: -1, Rate: -1}}, false)
		e.override(backend.Override{Settings: backend.Settings{Name: "a", MaxCrashes: -1, History: backend.History{Done: time.Hour}}, By: "bob"}, false)
		e.wantSettings("Overridden twice", backend.Settings{Name: "a", MaxCrashes: -1, History: backend.History{Done: time.Hour, Rows: 9}}, false)
		e.setBy(w, backend.Settings{Name: "a", MaxRunning: 6})
		e.override(backend.Override{Settings: backend.Settings{Name: "a", Rate: 8, Per: time.Hour}}, true)
		e.wantSettings("With one field after a reset", backend.Settings{Name: "a", MaxRunning: 6, Rate: 8, Per: time.Hour}, false)
		e.override(backend.Override{Settings: backend.Settings{Name: "a"}, By: "bob"}, true)
		e.wantSettings("Reset", backend.Settings{Name: "a", MaxRunning: 6}, false)
		if info, _ := e.nameInfo("a"); !reflect.DeepEqual(info.Override, backend.Override{}) {
			e.Errorf("after the reset the override is %+v", info.Override)
		}
		e.leave(w)
		e.override(backend.Override{Settings: backend.Settings{Name: "b", MaxRunning: 1}}, false)
		e.override(backend.Override{Settings: backend.Settings{Name: "b"}}, true)
		if info, ok := e.nameInfo("b"); ok {
			e.Errorf("a name that was only overridden is %+v after the reset", info)
		}
	},
}, {
	name: "override/concurrency",
	rule: "a heartbeat returns the concurrency that overrides have, by name",
	run: func(e *env) {
		beats := capability[backend.Heartbeater](e, e.b)
		w := e.definer("a")
		concurrency := func(want map[string]int) {
			e.Helper()
			got, err := beats.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w})
			if err != nil || len(got.Concurrency) != len(want) || got.Concurrency["a"] != want["a"] || got.Concurrency["b"] != want["b"] {
				e.Errorf("Heartbeat = %+v, %v, want the concurrency %v", got, err, want)
			}
		}
		concurrency(nil)
		e.override(backend.Override{Settings: backend.Settings{Name: "a"}, Concurrency: 3}, false)
		e.override(backend.Override{Settings: backend.Settings{Name: "b"}, Concurrency: -1}, false)
		concurrency(map[string]int{"a": 3, "b": -1})
		e.override(backend.Override{Settings: backend.Settings{Name: "a"}}, true)
		concurrency(map[string]int{"b": -1})
	},
}, {
	name: "override/invalid",
	rule: "an override that breaks a rule is refused with ErrInvalid and changes nothing",
	run: func(e *env) {
		store := capability[backend.SettingsStore](e, e.b)
		for _, bad := range []backend.Override{
			{}, {Settings: backend.Settings{Name: "a\xff"}}, {Settings: backend.Settings{Name: "a", Rate: 1}},
			{Settings: backend.Settings{Name: "a", Rate: -1, Per: 1}}, {Settings: backend.Settings{Name: "a", Per: 1}},
			{Settings: backend.Settings{Name: "a", History: backend.History{Done: 1<<63 - 1}}},
			{Settings: backend.Settings{Name: "a"}, Concurrency: 1 << 40}, {Settings: backend.Settings{Name: "a", MaxRunning: 1}, By: "a\x00"},
		} {
			if err := store.Override(e.ctx, bad, false); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Override(%+v) = %v, want ErrInvalid", bad, err)
			}
		}
		if names, err := store.Names(e.ctx); len(names) != 0 || err != nil {
			e.Errorf("Names = %+v, %v", names, err)
		}
	},
}, {
	name: "override/wait",
	rule: "Wait returns when an override lets a job be claimed",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 1})
		e.push(e.b, "a", 2)
		e.claim1(e.b, e.worker(), "a")
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
		e.wantAsleep("at the limit", c)
		e.override(backend.Override{Settings: backend.Settings{Name: "a", MaxRunning: 2}}, false)
		e.wantWake("after an override", c)
	},
}}
