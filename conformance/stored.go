package conformance

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

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
	name: "stored/names-race",
	rule: "of calls at once that store a schedule and define one of its name, one succeeds",
	run: func(e *env) {
		now := e.schedules().Now
		for i := range 20 {
			name := fmt.Sprint("n", i)
			var errs [2]error
			e.atOnce(2, func(n int, b backend.Backend) {
				s := b.(backend.Scheduler)
				if n == i%2 {
					errs[n] = s.Define(e.ctx, []backend.Schedule{{Name: name, Definition: "x", Next: now}})
				} else {
					errs[n] = s.ChangeSchedule(e.ctx, nil, name, put(backend.StoredSchedule{Name: name, Definition: "x", Next: now, Look: now, Job: newJob("a")}))
				}
			})
			if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), backend.ErrInvalid) {
				e.Fatalf("the calls return %v and %v", errs[0], errs[1])
			}
		}
		stored, defined := len(e.listStored(backend.StoredRequest{}).Schedules), len(e.schedules().Schedules)
		if stored+defined != 20 {
			e.Errorf("of 20 names %d are stored and %d defined", stored, defined)
		}
	},
}, {
	name: "stored/names-import",
	rule: "an import refuses a stored schedule whose name programs define, and the reverse, and replaces a removed one",
	run: func(e *env) {
		importer := capability[backend.ExportImporter](e, e.b)
		stored := e.storeSchedule("stored", time.Hour)
		e.define(e.b, "defined", "x", time.Hour)
		as := stored
		as.Name = "defined"
		now := e.schedules().Now
		for what, batch := range map[string]backend.Batch{
			"a stored one":  {Stored: []backend.StoredSchedule{as}},
			"a defined one": {Schedules: []backend.Schedule{{Name: "stored", Definition: "x", Next: now}}},
		} {
			if _, err := importer.Import(e.ctx, batch); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Import of %s = %v, want ErrInvalid", what, err)
			}
		}
		e.wantStored("the one before", stored)
		if all := e.schedules().Schedules; len(all) != 1 || all[0].Name != "defined" {
			e.Errorf("the schedules of programs are %+v", all)
		}
		e.claim(e.b, e.worker(), 1, "a") // registers a worker without schedules
		e.reap(e.b, backend.ReapRequest{Expired: true})
		e.imports(e.b, backend.Batch{Stored: []backend.StoredSchedule{as}})
		e.wantStored("in place of a removed one", as)
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
}}
