package conformance

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// change changes a stored schedule.
func (e *env) change(b backend.Backend, tx *sql.Tx, name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) {
	e.Helper()
	if err := capability[backend.Scheduler](e, b).ChangeSchedule(e.ctx, tx, name, change); err != nil {
		e.Fatalf("ChangeSchedule of %s: %v", name, err)
	}
}

// storeSchedule stores a schedule that pushes a job of its own name and is due in d, and returns it.
func (e *env) storeSchedule(name string, d time.Duration) backend.StoredSchedule {
	e.Helper()
	next := e.listStored(backend.StoredRequest{}).Now.Add(d)
	s := backend.StoredSchedule{Name: name, Definition: "x", Next: next, Look: next, Job: newJob(name)}
	e.change(e.b, nil, name, put(s))
	return s
}

// put stores s.
func put(s backend.StoredSchedule) func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) {
	return func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) { return &s, nil }
}

func (e *env) listStored(req backend.StoredRequest) backend.StoredSchedules {
	e.Helper()
	all, err := capability[backend.Scheduler](e, e.b).StoredSchedules(e.ctx, req)
	if err != nil || all.Now.IsZero() {
		e.Fatalf("StoredSchedules = %v, %v", all, err)
	}
	return all
}

func storedNames(all backend.StoredSchedules) string {
	var names []string
	for _, s := range all.Schedules {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// stored returns a stored schedule, or nil.
func (e *env) stored(name string) *backend.StoredSchedule {
	e.Helper()
	for _, s := range e.listStored(backend.StoredRequest{Prefix: name}).Schedules {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

// wantStored compares a stored schedule with what it should be.
func (e *env) wantStored(what string, want backend.StoredSchedule) {
	e.Helper()
	got := e.stored(want.Name)
	if got == nil {
		e.Errorf("%s: there is no schedule %s", what, want.Name)
		return
	}
	for _, s := range []*backend.StoredSchedule{got, &want} {
		if len(s.Runs) == 0 {
			s.Runs = nil
		}
		if len(s.Job.Metadata) == 0 {
			s.Job.Metadata = nil
		}
		if len(s.Job.Payload) == 0 {
			s.Job.Payload = nil
		}
	}
	if !reflect.DeepEqual(*got, want) {
		e.Errorf("%s: the schedule is %+v, want %+v", what, *got, want)
	}
}

func (e *env) tickStored(b backend.Backend, ticks ...backend.Tick) []bool {
	e.Helper()
	taken, err := capability[backend.Scheduler](e, b).TickStored(e.ctx, ticks)
	if err != nil || len(taken) != len(ticks) {
		e.Fatalf("TickStored = %v, %v", taken, err)
	}
	return taken
}

// tickOfStored returns the tick of s that pushes its job.
func tickOfStored(s backend.StoredSchedule, next time.Time) backend.Tick {
	return backend.Tick{Name: s.Name, Definition: s.Definition, Due: s.Next, Next: next, Jobs: []backend.NewJob{s.Job}}
}

var errChange = errors.New("no change")

var storedCases = []testCase{{
	name:  "stored/change",
	needs: backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending,
	rule:  "a stored schedule has all that was stored; its next change gets it, and may replace or delete it",
	run: func(e *env) {
		now := e.listStored(backend.StoredRequest{}).Now
		want := backend.StoredSchedule{
			Name: "a", Definition: "d|<é>", Next: now.Add(time.Hour), Last: now.Add(-time.Hour), Look: now.Add(2 * time.Hour), Paused: true,
			Problem: "no zone", Runs: []int64{9, 7, 1}, Job: backend.NewJob{
				Name: "job", Payload: []byte("{\x00\xff"), Priority: -3, MaxAttempts: 4, Delay: time.Second, Expires: time.Hour,
				Unique: backend.Unique{Key: "k", Scope: backend.UntilStarted, For: time.Minute, Conflict: backend.Reject}, Serial: "s",
				MaxPending: 7, Metadata: []byte("m"),
			},
		}
		e.change(e.b, nil, "a", func(at time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
			if after := e.unit; s != nil || at.Before(now) || at.Sub(now) > after+time.Minute {
				e.Errorf("at %v the change of no schedule got %v at %v", now, s, at)
			}
			return &want, nil
		})
		e.wantStored("stored", want)
		e.change(e.other(), nil, "a", func(_ time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
			if s == nil || !reflect.DeepEqual(*s, want) {
				e.Errorf("the change got %+v, want %+v", s, want)
			}
			return &backend.StoredSchedule{Name: "a", Definition: "y", Next: want.Look, Look: want.Next, Job: newJob("b")}, nil
		})
		e.wantStored("replaced", backend.StoredSchedule{Name: "a", Definition: "y", Next: want.Look, Look: want.Next, Job: newJob("b")})
		for range 2 {
			e.change(e.b, nil, "a", func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) { return nil, nil })
			if s := e.stored("a"); s != nil {
				e.Errorf("the deleted schedule is %+v", s)
			}
		}
		if all := e.schedules().Schedules; len(all) != 0 {
			e.Errorf("the schedules of programs are %+v", all)
		}
	},
}, {
	name: "stored/change-fails",
	rule: "after an error of the change, or one that returns an invalid schedule, the schedule is as before",
	run: func(e *env) {
		s := capability[backend.Scheduler](e, e.b)
		want := e.storeSchedule("a", time.Hour)
		bad := map[string]func(*backend.StoredSchedule){
			"another name": func(s *backend.StoredSchedule) { s.Name = "b" },
			"no next tick": func(s *backend.StoredSchedule) { s.Next = time.Time{} },
			"no look":      func(s *backend.StoredSchedule) { s.Look = time.Time{} },
			"a bad job":    func(s *backend.StoredSchedule) { s.Job.MaxAttempts = 0 },
			"a gate":       func(s *backend.StoredSchedule) { s.Job.Gating = &backend.Gating{Gates: []int64{1}} },
			"an instant":   func(s *backend.StoredSchedule) { s.Job.RunAt = s.Next },
		}
		for what, spoil := range bad {
			as := want
			if spoil(&as); !errors.Is(s.ChangeSchedule(e.ctx, nil, "a", put(as)), backend.ErrInvalid) {
				e.Errorf("a schedule with %s was stored", what)
			}
		}
		for _, name := range []string{"a", "b"} {
			err := s.ChangeSchedule(e.ctx, nil, name, func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) { return nil, errChange })
			if !errors.Is(err, errChange) {
				e.Errorf("ChangeSchedule = %v, want %v", err, errChange)
			}
		}
		e.wantStored("after the errors", want)
		if got := storedNames(e.listStored(backend.StoredRequest{})); got != "a" {
			e.Errorf("the schedules are %q", got)
		}
	},
}, {
	name: "stored/change-race",
	rule: "concurrent changes of one schedule have their effects one after the other",
	run: func(e *env) {
		const rounds = 5
		next := e.schedules().Now.Add(time.Hour)
		for range rounds {
			e.atOnce(6, func(_ int, b backend.Backend) {
				err := b.(backend.Scheduler).ChangeSchedule(e.ctx, nil, "a", func(_ time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
					if s == nil {
						s = &backend.StoredSchedule{Name: "a", Next: next, Look: next, Job: newJob("a")}
					}
					s.Definition += "x"
					return s, nil
				})
				if err != nil {
					e.Errorf("ChangeSchedule: %v", err)
				}
			})
		}
		if s := e.stored("a"); s == nil || len(s.Definition) != 6*rounds {
			e.Errorf("after %d changes the schedule is %+v", 6*rounds, s)
		}
	},
}, {
	name: "stored/tx",
	rule: "a change in a transaction of the application exists if and when that commits, and the transaction sees its own changes",
	run: func(e *env) {
		_, tx := e.tx()
		next := e.schedules().Now.Add(time.Hour)
		want := backend.StoredSchedule{Name: "a", Definition: "x", Next: next, Look: next, Job: newJob("a")}
		e.change(e.b, tx, "a", put(want))
		e.change(e.b, tx, "a", func(_ time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
			if s == nil || s.Definition != "x" {
				e.Errorf("in the transaction the schedule is %+v", s)
			}
			return &want, nil
		})
		err := capability[backend.Scheduler](e, e.b).ChangeSchedule(e.ctx, tx, "b", func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) {
			return nil, errChange
		})
		if !errors.Is(err, errChange) {
			e.Errorf("ChangeSchedule = %v, want %v", err, errChange)
		}
		if s := e.stored("a"); s != nil {
			e.Errorf("before the commit the schedule is %+v", s)
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantStored("after the commit", want)
		_, tx = e.tx()
		e.change(e.b, tx, "a", func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) { return nil, nil })
		if err := tx.Rollback(); err != nil {
			e.Fatalf("Rollback: %v", err)
		}
		e.wantStored("after the rollback", want)
	},
}, {
	name: "stored/names",
	rule: "a stored schedule and one that programs define share no name; a removed one is replaced",
	run: func(e *env) {
		s := capability[backend.Scheduler](e, e.b)
		stored := e.storeSchedule("stored", time.Hour)
		now := e.schedules().Now
		err := s.Define(e.ctx, []backend.Schedule{{Name: "other", Definition: "x", Next: now}, {Name: "stored", Definition: "x", Next: now}})
		if !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("Define of a stored name = %v, want ErrInvalid", err)
		}
		if all := e.schedules().Schedules; len(all) != 0 {
			e.Errorf("the schedules of programs are %+v", all)
		}
		e.define(e.b, "defined", "x", time.Hour)
		as := stored
		as.Name = "defined"
		called := false
		err = s.ChangeSchedule(e.ctx, nil, "defined", func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) {
			called = true
			return &as, nil
		})
		if !errors.Is(err, backend.ErrInvalid) || called {
			e.Errorf("ChangeSchedule of a defined name = %v, want ErrInvalid; called: %v", err, called)
		}
		if err := s.PauseSchedule(e.ctx, "stored", true); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("PauseSchedule of a stored name = %v, want ErrNotFound", err)
		}
		e.claim(e.b, e.worker(), 1, "a") // registers a worker without schedules
		e.reap(e.b, backend.ReapRequest{Expired: true})
		if e.schedule("defined").RemovedAt.IsZero() {
			e.Fatalf("the schedule is not removed")
		}
		e.change(e.b, nil, "defined", put(as))
		e.wantStored("in place of a removed one", as)
		e.wantStored("no worker has it, but it is data", stored)
		if all := e.schedules().Schedules; len(all) != 0 {
			e.Errorf("the schedules of programs are %+v", all)
		}
	},
}, {
	name: "stored/list",
	rule: "stored schedules are listed by name, by prefix and by problem, in pages",
	run: func(e *env) {
		for i, name := range []string{"b/2", "a", "b/1", "b/10", "c", "b0", "B/1"} {
			s := e.storeSchedule(name, time.Duration(i)*time.Hour)
			if strings.HasSuffix(name, "1") {
				s.Problem = "no zone"
				e.change(e.b, nil, name, put(s))
			}
		}
		e.define(e.b, "b/defined", "x", time.Hour)
		for _, c := range []struct {
			req  backend.StoredRequest
			want string
		}{
			{backend.StoredRequest{}, "B/1 a b/1 b/10 b/2 b0 c"},
			{backend.StoredRequest{Prefix: "b/"}, "b/1 b/10 b/2"},
			{backend.StoredRequest{Prefix: "b/", Limit: 2}, "b/1 b/10"},
			{backend.StoredRequest{Prefix: "b/", After: "b/10", Limit: 2}, "b/2"},
			{backend.StoredRequest{After: "b/2", Limit: 1}, "b0"},
			{backend.StoredRequest{Prefix: "b", After: "a"}, "b/1 b/10 b/2 b0"},
			{backend.StoredRequest{Prefix: "d"}, ""},
			{backend.StoredRequest{Problems: true}, "B/1 b/1"},
			{backend.StoredRequest{Prefix: "b", Problems: true}, "b/1"},
		} {
			if got := storedNames(e.listStored(c.req)); got != c.want {
				e.Errorf("%+v returns %q, want %q", c.req, got, c.want)
			}
		}
		for _, req := range []backend.StoredRequest{{Limit: 1001}, {Limit: -1}, {Due: true, Prefix: "a"}, {Prefix: "\xff"}} {
			if _, err := capability[backend.Scheduler](e, e.b).StoredSchedules(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("%+v returns %v, want ErrInvalid", req, err)
			}
		}
	},
}, {
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
