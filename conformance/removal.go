package conformance

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var removalCases = []testCase{{
	name: "schedule/removed",
	rule: "a schedule that no registered worker has is removed, and does not tick until it is defined again",
	run: func(e *env) {
		due := e.define(e.b, "a", "x", e.unit)
		e.define(e.b, "b", "x", e.unit)
		e.reap(e.b, backend.ReapRequest{})
		if s := e.schedule("a"); !s.RemovedAt.IsZero() {
			e.Errorf("without any worker the schedule is %+v", s)
		}
		old, now := e.worker(), e.worker()
		old.Schedules, now.Schedules = []string{"a", "b"}, []string{"b"}
		e.claim(e.b, old, 0)
		e.claim(e.b, now, 0)
		e.reap(e.b, backend.ReapRequest{})
		if s := e.schedule("a"); !s.RemovedAt.IsZero() {
			e.Errorf("with a worker that has it the schedule is %+v", s)
		}
		e.advance(e.unit * 2 / 3)
		e.claim(e.b, now, 0)
		e.advance(e.unit * 2 / 3)
		e.reap(e.b, backend.ReapRequest{Expired: true})
		s := e.schedule("a")
		if s.RemovedAt.IsZero() || s.RemovedAt.After(e.schedules().Now) || !e.schedule("b").RemovedAt.IsZero() {
			e.Errorf("without a worker that has it the schedule is %+v, and the other %+v", s, e.schedule("b"))
		}
		if e.tick(e.b, tickOf("a", "x", due, due.Add(e.unit))) {
			e.Errorf("a removed schedule was ticked")
		}
		e.define(e.other(), "a", "x", 50*e.unit)
		if s := e.schedule("a"); !s.RemovedAt.IsZero() || !s.Next.Equal(due) {
			e.Errorf("defined again at once the schedule is %+v, want its tick at %v to be made up for", s, due)
		}
		if !e.tick(e.b, tickOf("a", "x", due, due.Add(e.unit))) {
			e.Errorf("a schedule that was defined again was not ticked")
		}
	},
}, {
	name: "schedule/removed-long",
	rule: "a removed schedule that is defined again has its old next tick",
	run: func(e *env) {
		due := e.define(e.b, "a", "x", e.unit)
		e.claim(e.b, e.worker(), 0)
		e.reap(e.b, backend.ReapRequest{})
		if s := e.schedule("a"); s.RemovedAt.IsZero() {
			e.Errorf("without a worker that has it the schedule is %+v", s)
		}
		if e.store.Advance != nil {
			e.advance(backend.KeepRemoved - time.Minute)
		}
		for _, definition := range []string{"x", "y"} {
			e.define(e.other(), "a", definition, 50*e.unit)
			if s := e.schedule("a"); s.Definition != definition || !s.RemovedAt.IsZero() || !s.Next.Equal(due) {
				e.Errorf("defined again as %s the schedule is %+v, want its next tick at %v", definition, s, due)
			}
		}
	},
}, {
	name: "schedule/removed-jumped",
	rule: "a jump of the clock removes no schedule",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		e.define(e.b, "a", "x", 90*e.unit)
		has, other := e.worker(), e.worker()
		has.Schedules = []string{"a"}
		e.claim(e.b, has, 0)
		e.claim(e.b, other, 0)
		r, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: other})
		if err != nil {
			e.Fatalf("Heartbeat: %v", err)
		}
		e.advance(5 * e.unit)
		e.claim(e.b, other, 0)
		e.reap(e.b, backend.ReapRequest{Expired: true, StoreTime: r.Now})
		if s := e.schedule("a"); !s.RemovedAt.IsZero() {
			e.Errorf("after a jump the schedule is %+v", s)
		}
	},
}, {
	name: "schedule/pruned",
	rule: "a removed schedule is deleted after KeepRemoved, other schedules never",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("needs a clock that can be moved")
		}
		e.define(e.b, "a", "x", e.unit)
		e.define(e.b, "b", "x", e.unit)
		w := e.worker()
		w.Schedules = []string{"b"}
		e.claim(e.b, w, 0)
		e.reap(e.b, backend.ReapRequest{})
		e.advance(backend.KeepRemoved - time.Minute)
		e.reap(e.b, backend.ReapRequest{})
		if s := e.schedule("a"); s.RemovedAt.IsZero() {
			e.Errorf("the schedule is %+v", s)
		}
		e.advance(time.Minute)
		e.reap(e.b, backend.ReapRequest{})
		if all := e.schedules().Schedules; len(all) != 1 || all[0].Name != "b" || !all[0].RemovedAt.IsZero() {
			e.Errorf("the schedules are %+v, want b", all)
		}
	},
}}
