package conformance

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var storedTickCases = []testCase{{
	name: "stored/due",
	rule: "due schedules come by Look and name, in pages, with the earliest Look that is not due",
	run: func(e *env) {
		if all := e.listStored(backend.StoredRequest{Due: true}); len(all.Schedules) != 0 || !all.Next.IsZero() {
			e.Errorf("without schedules the answer is %+v", all)
		}
		start := e.schedules().Now
		later := start.Add(50 * time.Hour)
		for name, look := range map[string]time.Time{
			"c": start.Add(e.unit), "b": start.Add(2 * e.unit), "a": start.Add(2 * e.unit), "z": later, "y": later.Add(time.Hour),
		} {
			e.change(e.b, nil, name, put(backend.StoredSchedule{Name: name, Next: start, Look: look, Job: newJob("a")}))
		}
		if all := e.listStored(backend.StoredRequest{Due: true}); len(all.Schedules) != 0 || !all.Next.Equal(start.Add(e.unit)) {
			e.Errorf("nothing is due, and the answer is %+v", all)
		}
		e.advance(4 * e.unit)
		all := e.listStored(backend.StoredRequest{Due: true})
		if got := storedNames(all); got != "c a b" || !all.Next.Equal(later) {
			e.Errorf("due are %q, and the next at %v, want c a b and %v", got, all.Next, later)
		}
		req := backend.StoredRequest{Due: true, Limit: 1}
		var got []string
		for {
			page := e.listStored(req)
			if len(page.Schedules) == 0 {
				if !page.Next.Equal(later) {
					e.Errorf("after the last page the next is at %v, want %v", page.Next, later)
				}
				break
			}
			s := page.Schedules[0]
			got = append(got, s.Name)
			req.Look, req.After = s.Look, s.Name
		}
		if !slices.Equal(got, []string{"c", "a", "b"}) {
			e.Errorf("the pages have %q", got)
		}
	},
}, {
	name: "stored/tick",
	rule: "a tick of a stored schedule pushes its jobs and advances the schedule, once; others of the call are independent of it",
	run: func(e *env) {
		a, b, late := e.storeSchedule("a", e.unit), e.storeSchedule("b", e.unit), e.storeSchedule("late", 50*time.Hour)
		next := late.Next
		ticks := []backend.Tick{tickOfStored(a, next), tickOfStored(late, next.Add(time.Hour)), tickOfStored(b, next)}
		if got := e.tickStored(e.b, ticks...); slices.Contains(got, true) {
			e.Errorf("before the time the ticks were taken: %v", got)
		}
		e.advance(2 * e.unit)
		wrong := tickOfStored(b, next)
		for what, spoil := range map[string]func(*backend.Tick){
			"another definition": func(t *backend.Tick) { t.Definition = "y" }, "another time": func(t *backend.Tick) { t.Due = t.Due.Add(-time.Microsecond) },
			"no schedule": func(t *backend.Tick) { t.Name = "none" },
		} {
			tick := wrong
			if spoil(&tick); e.tickStored(e.b, tick)[0] {
				e.Errorf("a tick of %s was taken", what)
			}
		}
		e.wantCounts("")
		ticks[0].Jobs = append(ticks[0].Jobs, newJob("a"))
		if got := e.tickStored(e.other(), ticks...); !slices.Equal(got, []bool{true, false, true}) {
			e.Errorf("the ticks were taken: %v", got)
		}
		for _, store := range []backend.Backend{e.b, e.other()} {
			if got := e.tickStored(store, ticks...); slices.Contains(got, true) {
				e.Errorf("the ticks were taken again: %v", got)
			}
		}
		e.wantCounts("a pending=2 b pending=1")
		ids := e.claim(e.b, e.worker(), 10, "a")
		wantA := a
		wantA.Last, wantA.Next, wantA.Look, wantA.Runs = a.Next, next, next, []int64{ids[1].ID, ids[0].ID}
		e.wantStored("after its tick", wantA)
		e.wantStored("without a tick", late)
		if all := e.listStored(backend.StoredRequest{Due: true}); len(all.Schedules) != 0 {
			e.Errorf("still due are %q", storedNames(all))
		}
		if got := e.tickStored(e.b); len(got) != 0 {
			e.Errorf("no ticks return %v", got)
		}
	},
}, {
	name: "stored/race",
	rule: "ticks that any number of processes try to take at once are taken once each",
	run: func(e *env) {
		const schedules, rounds = 5, 6
		var ticks []backend.Tick
		for i := range schedules {
			s := e.storeSchedule(fmt.Sprint("s", i), 0)
			s.Job.Name = "a"
			ticks = append(ticks, tickOfStored(s, s.Next.Add(e.unit)))
		}
		e.advance(rounds * 2 * e.unit)
		for range rounds {
			var taken [schedules]atomic.Int32
			e.atOnce(6, func(i int, b backend.Backend) {
				mine := slices.Clone(ticks)
				if i%2 == 1 {
					slices.Reverse(mine)
				}
				did, err := b.(backend.Scheduler).TickStored(e.ctx, mine)
				if err != nil {
					e.Errorf("TickStored: %v", err)
				}
				for n, yes := range did {
					if yes && i%2 == 1 {
						n = schedules - 1 - n
					}
					if yes {
						taken[n].Add(1)
					}
				}
			})
			for i := range taken {
				if n := taken[i].Load(); n != 1 {
					e.Fatalf("a tick was taken %d times", n)
				}
				ticks[i].Due, ticks[i].Next = ticks[i].Next, ticks[i].Next.Add(e.unit)
			}
		}
		e.wantCounts(fmt.Sprintf("a pending=%d", schedules*rounds))
	},
}, {
	name:  "stored/push-fails",
	needs: backend.FieldUnique,
	rule:  "if the jobs of one tick cannot be pushed, no schedule of the call advances, and the ticks can be taken later",
	run: func(e *env) {
		a, b := e.storeSchedule("a", e.unit), e.storeSchedule("b", e.unit)
		job := uniqueJob("b", backend.Unique{Key: "k", Conflict: backend.Reject})
		e.wantNew("the job before", job)
		e.advance(2 * e.unit)
		next := a.Next.Add(50 * time.Hour)
		ticks := []backend.Tick{tickOfStored(a, next), tickOfStored(b, next)}
		ticks[1].Jobs[0] = job
		if did, err := capability[backend.Scheduler](e, e.b).TickStored(e.ctx, ticks); !errors.Is(err, backend.ErrDuplicate) {
			e.Errorf("TickStored = %v, %v; want ErrDuplicate", did, err)
		}
		e.wantStored("whose job could be pushed", a)
		e.wantStored("whose job could not", b)
		e.wantCounts("b pending=1")
		e.complete(e.b, e.claim1(e.b, e.worker(), "b").Lease)
		if got := e.tickStored(e.b, ticks...); slices.Contains(got, false) {
			e.Errorf("the ticks were taken: %v", got)
		}
		e.wantCounts("a pending=1 b pending=1 b done=1")
	},
}, {
	name: "stored/paused",
	rule: "the tick of a paused stored schedule advances Next, pushes nothing and is taken",
	run: func(e *env) {
		s := e.storeSchedule("a", e.unit)
		s.Paused = true
		e.change(e.b, nil, "a", put(s))
		e.advance(2 * e.unit)
		next := s.Next.Add(50 * time.Hour)
		if !e.tickStored(e.b, tickOfStored(s, next))[0] {
			e.Errorf("the tick was not taken")
		}
		s.Next, s.Look = next, next
		e.wantStored("paused", s)
		e.wantCounts("")
	},
}, {
	name: "stored/defer",
	rule: "a tick with Defer moves Look and sets Problem only; the next tick that is taken clears Problem",
	run: func(e *env) {
		s := e.storeSchedule("a", e.unit)
		tick := tickOfStored(s, s.Next.Add(50*time.Hour))
		e.advance(2 * e.unit)
		deferred := tick
		deferred.Defer, deferred.Problem = s.Next.Add(20*time.Hour), "unknown zone Über/All"
		if e.tickStored(e.b, deferred)[0] {
			e.Errorf("a tick that is deferred was taken")
		}
		want := s
		want.Look, want.Problem = deferred.Defer, deferred.Problem
		e.wantStored("deferred", want)
		if all := e.listStored(backend.StoredRequest{Due: true}); len(all.Schedules) != 0 || !all.Next.Equal(want.Look) {
			e.Errorf("due are %q, and the next at %v, want %v", storedNames(all), all.Next, want.Look)
		}
		e.wantCounts("")
		if !e.tickStored(e.b, tick)[0] {
			e.Errorf("the tick was not taken after all")
		}
		want.Last, want.Next, want.Look, want.Problem = s.Next, tick.Next, tick.Next, ""
		want.Runs = []int64{e.claim1(e.b, e.worker(), "a").ID}
		e.wantStored("ticked", want)
	},
}, {
	name:  "stored/runs",
	needs: backend.FieldUnique,
	rule:  "a stored schedule has the IDs of the last five new jobs, latest first",
	run: func(e *env) {
		s := e.storeSchedule("a", e.unit)
		e.advance(20 * e.unit)
		var ids []int64
		for i := range 4 {
			tick := tickOfStored(s, s.Next.Add(e.unit))
			tick.Jobs = []backend.NewJob{newJob("a"), newJob("a"), uniqueJob("b", backend.Unique{Key: "k"})}
			if !e.tickStored(e.b, tick)[0] {
				e.Fatalf("tick %d was not taken", i)
			}
			s.Next = tick.Next
		}
		for _, name := range []string{"a", "b"} {
			for _, j := range e.claim(e.b, e.worker(), 10, name) {
				ids = append(ids, j.ID)
			}
		}
		slices.Sort(ids)
		slices.Reverse(ids)
		if got := e.stored("a").Runs; len(ids) != 9 || !slices.Equal(got, ids[:backend.KeepRuns]) {
			e.Errorf("of the jobs %v the schedule has %v", ids, got)
		}
	},
}, {
	name: "stored/invalid",
	rule: "ticks that break a rule are refused with ErrInvalid, all of them",
	run: func(e *env) {
		s := e.storeSchedule("a", 0)
		b := e.storeSchedule("b", 0)
		e.advance(e.unit)
		next := s.Next.Add(time.Hour)
		good := tickOfStored(b, next)
		bad := newJob("a")
		bad.MaxAttempts = 0
		for what, tick := range map[string]backend.Tick{
			"no later tick": tickOfStored(s, s.Next), "a bad job": {Name: "a", Definition: "x", Due: s.Next, Next: next, Jobs: []backend.NewJob{bad}},
			"one schedule twice": good,
		} {
			if did, err := capability[backend.Scheduler](e, e.b).TickStored(e.ctx, []backend.Tick{good, tick}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("TickStored with %s = %v, %v; want ErrInvalid", what, did, err)
			}
		}
		e.wantStored("good", b)
		e.wantCounts("")
	},
}, {
	name: "stored/import",
	rule: "an imported stored schedule is complete, and replaces one that has not pushed since",
	run: func(e *env) {
		now := e.schedules().Now
		given := []backend.StoredSchedule{
			{Name: "a", Definition: "d", Next: now.Add(-time.Hour), Last: now.Add(-2 * time.Hour), Look: now.Add(-time.Hour), Runs: []int64{4, 2}, Job: newJob("a")},
			{Name: "b", Definition: "d", Next: now.Add(time.Hour), Look: now.Add(2 * time.Hour), Paused: true, Problem: "p", Job: newJob("a")},
		}
		e.storeSchedule("a", time.Hour)
		e.imports(e.b, backend.Batch{Stored: given})
		for range 2 {
			for _, want := range given {
				e.wantStored("imported", want)
			}
			e.imports(e.b, backend.Batch{Stored: given})
		}
		if !e.tickStored(e.b, tickOfStored(given[0], now.Add(time.Hour)))[0] {
			e.Errorf("the tick was not taken")
		}
		e.imports(e.b, backend.Batch{Stored: given})
		if e.tickStored(e.b, tickOfStored(given[0], now.Add(time.Hour)))[0] {
			e.Errorf("the tick was taken again after a repeated import")
		}
	},
}}
