package conformance

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// define defines a schedule whose next tick is in d, by the store's clock, and
// returns that.
func (e *env) define(b backend.Backend, name, definition string, d time.Duration) time.Time {
	e.Helper()
	next := e.schedules().Now.Add(d)
	err := capability[backend.Scheduler](e, b).Define(e.ctx, []backend.Schedule{{Name: name, Definition: definition, Next: next}})
	if err != nil {
		e.Fatalf("Define: %v", err)
	}
	return next
}

func (e *env) schedules() backend.Schedules {
	e.Helper()
	all, err := capability[backend.Scheduler](e, e.b).Schedules(e.ctx)
	if err != nil || all.Now.IsZero() {
		e.Fatalf("Schedules = %v, %v", all, err)
	}
	return all
}

// schedule returns a schedule as it is stored.
func (e *env) schedule(name string) backend.Schedule {
	e.Helper()
	for _, s := range e.schedules().Schedules {
		if s.Name == name {
			return s
		}
	}
	e.Fatalf("there is no schedule %s", name)
	return backend.Schedule{}
}

func (e *env) tick(b backend.Backend, tick backend.Tick) bool {
	e.Helper()
	e.needsFieldsOf(tick.Jobs...)
	did, err := capability[backend.Scheduler](e, b).Tick(e.ctx, tick)
	if err != nil {
		e.Fatalf("Tick: %v", err)
	}
	return did
}

// tickOf returns a tick that is due at due and pushes a job of the name.
func tickOf(name, definition string, due, next time.Time) backend.Tick {
	return backend.Tick{Name: name, Definition: definition, Due: due, Next: next, Jobs: []backend.NewJob{newJob(name)}}
}

var scheduleCases = []testCase{{
	name: "schedule/define",
	rule: "a new schedule takes the given definition and next tick; a stored one takes the definition and keeps its next tick",
	run: func(e *env) {
		next := e.define(e.b, "b", "every minute", 5*e.unit)
		e.define(e.b, "a", "x", e.unit)
		if s := e.schedule("b"); s.Definition != "every minute" || !s.Next.Equal(next) || !s.Last.IsZero() || s.Paused || !s.RemovedAt.IsZero() || s.Next.Location() != time.UTC {
			e.Errorf("the new schedule is %+v", s)
		}
		for _, definition := range []string{"every minute", "every minute, at most three times", "every hour"} {
			e.define(e.other(), "b", definition, 50*e.unit)
			if s := e.schedule("b"); s.Definition != definition || !s.Next.Equal(next) {
				e.Errorf("defined as %q the schedule is %+v, want its next tick at %v", definition, s, next)
			}
		}
		if all := e.schedules().Schedules; len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
			e.Errorf("the schedules are %+v, want a, b", all)
		}
	},
}, {
	name: "schedule/define-due",
	rule: "a new definition loses no tick that is due",
	run: func(e *env) {
		due := e.define(e.b, "a", "x", e.unit)
		e.advance(2 * e.unit)
		e.define(e.other(), "a", "y", 50*e.unit)
		if !e.tick(e.b, tickOf("a", "y", due, due.Add(90*e.unit))) {
			e.Errorf("the tick was not taken")
		}
		e.wantCounts("a pending=1")
	},
}, {
	name: "schedule/instead",
	rule: "the next tick is replaced if it equals Instead; otherwise the schedule stays as it is",
	run: func(e *env) {
		s := capability[backend.Scheduler](e, e.b)
		first := e.define(e.b, "a", "x", 5*e.unit)
		other := e.define(e.b, "b", "x", 5*e.unit)
		for _, c := range []struct {
			what, definition string
			next, instead    time.Time
			replaced         bool
		}{
			{"later", "y", first.Add(e.unit), first, true},
			{"of before", "z", first.Add(9 * e.unit), first, false},
			{"earlier, of the same definition", "y", first.Add(-e.unit), first.Add(e.unit), true},
			{"off by a microsecond", "z", first, first.Add(-e.unit - time.Microsecond), false},
		} {
			want := e.schedule("a")
			if c.replaced {
				want.Definition, want.Next = c.definition, c.next
			}
			err := s.Define(e.ctx, []backend.Schedule{
				{Name: "a", Definition: c.definition, Next: c.next, Instead: c.instead}, {Name: "b", Definition: c.what, Next: c.next},
			})
			if got := e.schedule("a"); err != nil || got != want {
				e.Errorf("%s: Define = %v, and the schedule is %+v, want %+v", c.what, err, got, want)
			}
			if got := e.schedule("b"); got.Definition != c.what || !got.Next.Equal(other) {
				e.Errorf("%s: the other schedule is %+v", c.what, got)
			}
		}
		if err := s.Define(e.ctx, []backend.Schedule{{Name: "new", Definition: "x", Next: first, Instead: other}}); err != nil {
			e.Fatalf("Define: %v", err)
		}
		if got := e.schedule("new"); got.Definition != "x" || !got.Next.Equal(first) {
			e.Errorf("the new schedule is %+v", got)
		}
	},
}, {
	name: "schedule/instead-race",
	rule: "of concurrent calls that replace a next tick or take it, one succeeds",
	run: func(e *env) {
		s := capability[backend.Scheduler](e, e.b)
		for range 20 {
			e.define(e.b, "a", "x", 0)
			due := e.schedule("a").Next
			e.advance(2 * e.unit)
			before := e.counts(e.reader())
			moved := due.Add(90 * e.unit)
			var taken atomic.Int32
			e.atOnce(6, func(i int, b backend.Backend) {
				if i < 3 {
					did, err := b.(backend.Scheduler).Tick(e.ctx, tickOf("a", "x", due, due.Add(e.unit)))
					if err != nil {
						e.Errorf("Tick: %v", err)
					}
					if did {
						taken.Add(1)
					}
				} else if err := b.(backend.Scheduler).Define(e.ctx, []backend.Schedule{{Name: "a", Definition: "x", Next: moved, Instead: due}}); err != nil {
					e.Errorf("Define: %v", err)
				}
			})
			pushed := e.counts(e.reader()) != before
			replaced := e.schedule("a").Next.Equal(moved)
			if n := taken.Load(); n > 1 || (n == 1) != pushed || (n == 1) == replaced {
				e.Fatalf("the tick was taken %d times, pushed: %v, replaced: %v", n, pushed, replaced)
			}
			if err := s.Define(e.ctx, []backend.Schedule{{Name: "a", Definition: "x", Next: due.Add(e.unit), Instead: e.schedule("a").Next}}); err != nil {
				e.Fatalf("Define: %v", err)
			}
		}
	},
}, {
	name: "schedule/tick",
	rule: "a tick pushes its jobs and advances the schedule, once",
	run: func(e *env) {
		due := e.define(e.b, "a", "x", 5*e.unit)
		tick := tickOf("a", "x", due, due.Add(5*e.unit))
		if e.tick(e.b, tick) {
			e.Errorf("a tick was taken that is not due")
		}
		e.advance(5 * e.unit)
		if !e.tick(e.other(), tick) {
			e.Errorf("a tick was not taken that is due")
		}
		for _, b := range []backend.Backend{e.b, e.other()} {
			if e.tick(b, tick) {
				e.Errorf("a tick was taken twice")
			}
		}
		if s := e.schedule("a"); !s.Next.Equal(tick.Next) || !s.Last.Equal(due) {
			e.Errorf("the schedule is %+v, want next %v, last %v", s, tick.Next, due)
		}
		e.wantCounts("a pending=1")
		e.advance(5 * e.unit)
		tick.Due, tick.Next = tick.Next, tick.Next.Add(e.unit)
		tick.Jobs = append(tick.Jobs, after(e.unit, newJob("a")), newJob("b"))
		if !e.tick(e.b, tick) {
			e.Errorf("the second tick was not taken")
		}
		e.wantCounts("a scheduled=1 a pending=2 b pending=1")
	},
}, {
	name: "schedule/race",
	rule: "a tick that any number of processes try to take is taken once",
	run: func(e *env) {
		const rounds = 20
		due := e.define(e.b, "a", "x", e.unit)
		e.advance(rounds * e.unit * 2)
		for range rounds {
			tick := tickOf("a", "x", due, due.Add(e.unit))
			due = tick.Next
			var taken atomic.Int32
			e.atOnce(6, func(_ int, b backend.Backend) {
				did, err := b.(backend.Scheduler).Tick(e.ctx, tick)
				if err != nil {
					e.Errorf("Tick: %v", err)
				}
				if did {
					taken.Add(1)
				}
			})
			if n := taken.Load(); n != 1 {
				e.Fatalf("a tick was taken %d times", n)
			}
		}
		e.wantCounts(fmt.Sprintf("a pending=%d", rounds))
	},
}, {
	name: "schedule/other",
	rule: "a tick with another definition, another time or no schedule does nothing",
	run: func(e *env) {
		due := e.define(e.b, "a", "x", e.unit)
		e.advance(2 * e.unit)
		next := due.Add(90 * e.unit)
		for what, tick := range map[string]backend.Tick{
			"another definition": tickOf("a", "y", due, next), "no schedule": tickOf("b", "x", due, next),
			"an earlier time": tickOf("a", "x", due.Add(-time.Microsecond), next), "a later time": tickOf("a", "x", due.Add(time.Microsecond), next),
		} {
			if e.tick(e.b, tick) {
				e.Errorf("a tick of %s was taken", what)
			}
		}
		if s := e.schedule("a"); !s.Next.Equal(due) || !s.Last.IsZero() {
			e.Errorf("the schedule is %+v", s)
		}
		e.wantCounts("")
	},
}, {
	name: "schedule/push-fails",
	rule: "a tick whose jobs cannot be pushed does not advance the schedule, and can be taken later",
	run: func(e *env) {
		due := e.define(e.b, "a", "x", e.unit)
		job := uniqueJob("a", backend.Unique{Key: "k", Conflict: backend.Reject})
		e.wantNew("the job before", job)
		e.advance(2 * e.unit)
		tick := backend.Tick{Name: "a", Definition: "x", Due: due, Next: due.Add(e.unit), Jobs: []backend.NewJob{newJob("a"), job}}
		if did, err := capability[backend.Scheduler](e, e.b).Tick(e.ctx, tick); did || !errors.Is(err, backend.ErrDuplicate) {
			e.Errorf("Tick = %v, %v; want ErrDuplicate", did, err)
		}
		if s := e.schedule("a"); !s.Next.Equal(due) || !s.Last.IsZero() {
			e.Errorf("the schedule is %+v", s)
		}
		e.wantCounts("a pending=1")
		e.complete(e.b, e.claim1(e.b, e.worker(), "a").Lease)
		if !e.tick(e.b, tick) {
			e.Errorf("the tick was not taken")
		}
		e.wantCounts("a pending=2 a done=1")
	},
}, {
	name: "schedule/keep-first",
	rule: "a tick whose job is a duplicate is taken",
	run: func(e *env) {
		due := e.define(e.b, "a", "x", e.unit)
		job := uniqueJob("a", backend.Unique{Key: "k"})
		e.wantNew("the job before", job)
		e.advance(2 * e.unit)
		tick := tickOf("a", "x", due, due.Add(e.unit))
		tick.Jobs[0] = job
		if !e.tick(e.b, tick) {
			e.Errorf("the tick was not taken")
		}
		e.wantCounts("a pending=1")
	},
}, {
	name: "schedule/paused",
	rule: "the tick of a paused schedule advances Next, pushes nothing and returns true; the schedule continues when resumed, and Define does not resume it",
	run: func(e *env) {
		s := capability[backend.Scheduler](e, e.b)
		due := e.define(e.b, "a", "x", e.unit)
		if err := s.PauseSchedule(e.ctx, "a", true); err != nil {
			e.Fatalf("PauseSchedule: %v", err)
		}
		e.define(e.other(), "a", "x", e.unit)
		e.advance(3 * e.unit)
		tick := tickOf("a", "x", due, due.Add(e.unit))
		if !e.tick(e.b, tick) {
			e.Errorf("the tick of the paused schedule was not taken")
		}
		if s := e.schedule("a"); !s.Paused || !s.Next.Equal(tick.Next) || !s.Last.IsZero() {
			e.Errorf("the paused schedule is %+v", s)
		}
		e.wantCounts("")
		if err := s.PauseSchedule(e.ctx, "a", false); err != nil {
			e.Fatalf("PauseSchedule: %v", err)
		}
		if !e.tick(e.b, tickOf("a", "x", tick.Next, tick.Next.Add(e.unit))) {
			e.Errorf("the tick after the pause was not taken")
		}
		e.wantCounts("a pending=1")
		if err := s.PauseSchedule(e.ctx, "b", true); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("PauseSchedule of none = %v, want ErrNotFound", err)
		}
	},
}, {
	name: "schedule/invalid",
	rule: "a schedule or tick that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		s := capability[backend.Scheduler](e, e.b)
		now := e.schedules().Now
		for _, bad := range []backend.Schedule{
			{Next: now}, {Name: "a\xff", Next: now}, {Name: "a"}, {Name: "a", Next: now, Definition: "\x00"},
			{Name: "a", Next: now, Definition: strings.Repeat("x", 64<<10+1)},
		} {
			if err := s.Define(e.ctx, []backend.Schedule{{Name: "good", Next: now}, bad}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Define of %.20q = %v, want ErrInvalid", bad.Name, err)
			}
		}
		if all := e.schedules().Schedules; len(all) != 0 {
			e.Errorf("the schedules are %+v", all)
		}
		due := e.define(e.b, "a", "x", 0)
		bad := newJob("a")
		bad.MaxAttempts = 0
		for what, tick := range map[string]backend.Tick{
			"no next tick": tickOf("a", "x", due, due),
			"a bad job":    {Name: "a", Definition: "x", Due: due, Next: due.Add(e.unit), Jobs: []backend.NewJob{bad}},
		} {
			if did, err := s.Tick(e.ctx, tick); did || !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Tick with %s = %v, %v; want ErrInvalid", what, did, err)
			}
		}
		if s := e.schedule("a"); !s.Next.Equal(due) {
			e.Errorf("the schedule is %+v", s)
		}
	},
}}
