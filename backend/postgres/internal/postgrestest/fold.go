package postgrestest

import (
	"bytes"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// A gated is a sealed gate with one member, which runs, and a waiter for its end.
type gated struct {
	*testing.T
	s            *schema
	b            *postgres.Backend
	gate, waiter int64
	run          backend.Job
}

func (s *schema) gated(t *testing.T) *gated {
	t.Helper()
	g := &gated{T: t, s: s, b: s.open(t, &postgres.Options{Schema: s.name, NoListen: true})}
	member, waiter := newJob("m"), newJob("w")
	member.Gating = &backend.Gating{Gates: []int64{-1}}
	waiter.Gating = &backend.Gating{Gate: -1, When: backend.WhenDone}
	created, err := g.b.CreateGates(t.Context(), nil, backend.GateRequest{Gates: []backend.NewGate{{Sealed: true}}, Jobs: []backend.NewJob{member, waiter}})
	if err != nil {
		t.Fatal(err)
	}
	g.gate, g.waiter = created.Gates[0], created.Jobs[1].ID
	jobs, err := g.b.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Hour}, Register: true, Names: []string{"m"}, Limit: 1})
	if err != nil || len(jobs) != 1 {
		t.Fatalf("Claim = %v, %v", jobs, err)
	}
	g.run = jobs[0]
	return g
}

func (g *gated) complete() {
	g.Helper()
	if lost, err := g.b.Complete(g.Context(), []backend.Completion{{Lease: g.run.Lease}}); err != nil || len(lost) > 0 {
		g.Fatalf("Complete = %v, %v", lost, err)
	}
}

// member returns a job named m as a member of the gate.
func (g *gated) member() backend.NewJob {
	j := newJob("m")
	j.Gating = &backend.Gating{Gates: []int64{g.gate}}
	return j
}

func (g *gated) state(b *postgres.Backend) backend.State {
	g.Helper()
	info, err := b.Get(g.Context(), g.waiter)
	if err != nil {
		g.Fatal(err)
	}
	return info.State
}

// testFolds ends the last member of a gate in ways in which the fold is late. The waiter
// runs without a call of Reap, unless the process that ended the member is gone.
func (d Driver) testFolds(t *testing.T) {
	t.Run("CallersTransaction", func(t *testing.T) {
		g := d.schema(t).gated(t)
		tx, err := g.s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if err := g.b.CompleteTx(t.Context(), tx, backend.Completion{Lease: g.run.Lease}); err != nil {
			t.Fatal(err)
		}
		if state := g.state(g.b); state != backend.Blocked {
			t.Errorf("the waiter is %v before the commit", state)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return g.state(g.b) == backend.Pending })
	})
	t.Run("AnotherAdds", func(t *testing.T) {
		g := d.schema(t).gated(t)
		tx := pushing(t, g.s.db, g.b, g.member())
		defer tx.Rollback()
		g.complete()
		infos, err := g.b.Gates(t.Context(), backend.GateQuery{IDs: []int64{g.gate}})
		if err != nil || len(infos) != 1 || infos[0].Open != 0 || infos[0].Done != 1 || !infos[0].EndedAt.IsZero() {
			t.Errorf("Gates = %+v, %v, want the member counted and the gate open", infos, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return g.state(g.b) == backend.Pending })
	})
	t.Run("ProcessIsGone", func(t *testing.T) {
		g := d.schema(t).gated(t)
		other := g.s.open(t, &postgres.Options{Schema: g.s.name, NoListen: true})
		tx, err := g.s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.Exec(g.s.in(`SELECT 1 FROM {s}.job_gate FOR UPDATE`)); err != nil {
			t.Fatal(err)
		}
		g.complete()
		if err := g.b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if state := g.state(other); state != backend.Blocked {
			t.Errorf("the waiter is %v before Reap", state)
		}
		if _, err := other.Reap(t.Context(), backend.ReapRequest{}); err != nil {
			t.Fatal(err)
		}
		if state := g.state(other); state != backend.Pending {
			t.Errorf("the waiter is %v after Reap", state)
		}
	})
	t.Run("Delete", d.testDeleteGroup)
	t.Run("Overdue", d.testOverdue)
	t.Run("KeyHeld", d.testKeyHeld)
	t.Run("Transfer", d.testTransferGroups)
}

// testDeleteGroup deletes a group to which an open transaction adds a job.
func (d Driver) testDeleteGroup(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name, NoListen: true})
	q := plainjobs.New(b, nil)
	g, err := q.Group(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	member := newJob("m")
	member.Gating = &backend.Gating{Gates: []int64{g.ID()}}
	tx := pushing(t, s.db, b, member)
	defer tx.Rollback()
	done := make(chan error, 1)
	go func() { done <- g.Delete(t.Context()) }()
	until(t, func() (waits bool) {
		const query = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%job_gate%')"
		if err := s.db.QueryRowContext(t.Context(), query, s.name).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Delete = %v", err)
	}
	if counts, err := b.Count(t.Context()); err != nil || len(counts) > 0 {
		t.Errorf("Count = %+v, %v, want no job", counts, err)
	}
	if infos, err := b.Gates(t.Context(), backend.GateQuery{}); err != nil || len(infos) > 0 {
		t.Errorf("Gates = %+v, %v, want none", infos, err)
	}
}

// testOverdue has ten overdue gates with inner gates to which an open transaction adds jobs.
// They keep no other gate from its deadline, and Reap does not ask to be called again at once.
func (d Driver) testOverdue(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name, NoListen: true})
	create := func(jobs []backend.NewJob, gates ...backend.NewGate) backend.GateResult {
		r, err := b.CreateGates(t.Context(), nil, backend.GateRequest{Gates: gates, Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var jobs []backend.NewJob
	for range 10 {
		r := create(nil, backend.NewGate{Deadline: time.Microsecond}, backend.NewGate{Parent: -1})
		j := newJob("m")
		j.Gating = &backend.Gating{Gates: r.Gates[1:]}
		jobs = append(jobs, j)
	}
	tx := pushing(t, s.db, b, jobs...)
	defer tx.Rollback()
	member := newJob("m")
	member.Gating = &backend.Gating{Gates: []int64{-1}}
	other := create([]backend.NewJob{member}, backend.NewGate{Deadline: time.Microsecond})
	for calls := 1; ; calls++ {
		r, err := b.Reap(t.Context(), backend.ReapRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if !r.More {
			break
		}
		if calls == 10 {
			t.Fatal("Reap returned More 10 times")
		}
	}
	if info, err := b.Get(t.Context(), other.Jobs[0].ID); err != nil || info.State != backend.Cancelled {
		t.Errorf("the member of another overdue gate is %v, %v", info.State, err)
	}
}

// testKeyHeld ends a gate whose waiter has a key that an open transaction of the application
// holds. Another gate is folded meanwhile, and the transaction may add to a third.
func (d Driver) testKeyHeld(t *testing.T) {
	for what, key := range map[string]func(*backend.NewJob){
		"Serial": func(j *backend.NewJob) { j.Serial = "k" },
		"Unique": func(j *backend.NewJob) { j.Unique.Key = "k" },
	} {
		t.Run(what, func(t *testing.T) {
			g := d.schema(t).gated(t)
			member, held, free := newJob("n"), newJob("w"), newJob("w")
			member.Gating = &backend.Gating{Gates: []int64{-1}}
			held.Gating = &backend.Gating{Gate: -1, When: backend.WhenEnded}
			if what == "Unique" {
				held.Gating.When = backend.WhenDone // it is cancelled, and gives its key
			}
			key(&held)
			key(&free)
			r, err := g.b.CreateGates(t.Context(), nil, backend.GateRequest{Gates: []backend.NewGate{{Sealed: true}, {}}, Jobs: []backend.NewJob{member, held}})
			if err != nil {
				t.Fatal(err)
			}
			tx := pushing(t, g.s.db, g.b, free)
			defer tx.Rollback()
			if _, err := g.b.Operate(t.Context(), backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{IDs: []int64{r.Jobs[0].ID}}}); err != nil {
				t.Fatal(err)
			}
			g.complete()
			until(t, func() bool { return g.state(g.b) == backend.Pending })
			late := newJob("n")
			late.Gating = &backend.Gating{Gates: r.Gates[1:]}
			if _, err := g.b.PushTx(t.Context(), tx, []backend.NewJob{late}); err != nil {
				t.Errorf("PushTx to another gate: %v", err)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			until(t, func() bool {
				info, err := g.b.Get(t.Context(), r.Jobs[1].ID)
				return err == nil && info.State != backend.Blocked
			})
		})
	}
}

// testTransferGroups exports a group of which some members have ended, imports it into
// memory, and moves it back to PostgreSQL.
func (d Driver) testTransferGroups(t *testing.T) {
	s := d.schema(t)
	ctx, file := t.Context(), new(bytes.Buffer)
	member, callback := plainjobs.Declare[int]("m"), plainjobs.Declare[int]("w")
	q := plainjobs.New(s.open(t, &postgres.Options{Schema: s.name}), nil)
	var ids []int64
	g, err := q.Group(ctx, plainjobs.OnEnd(callback.With(1)), plainjobs.OnEnd(callback.With(2, plainjobs.In(time.Hour))), plainjobs.Label("rows"))
	if err == nil {
		ids, err = g.PerformMany(ctx, member.With(1), member.With(2), member.With(3))
	}
	if err == nil {
		_, err = q.Cancel(ctx, plainjobs.Filter{IDs: ids[:1]})
	}
	if err == nil {
		_, err = q.Export(ctx, file, plainjobs.Filter{})
	}
	if err != nil {
		t.Fatal(err)
	}
	between := plainjobs.New(memory.New(nil), nil)
	last := d.schema(t)
	end := plainjobs.New(last.open(t, &postgres.Options{Schema: last.name}), nil)
	if _, err := between.Import(ctx, file); err != nil {
		t.Fatal(err)
	}
	if sum, err := between.MoveTo(ctx, end, nil); err != nil || sum.Groups != 1 {
		t.Fatalf("MoveTo = %+v, %v", sum, err)
	}
	info, err := end.GroupByID(g.ID()).Info(ctx)
	if err != nil || info.Label != "rows" || info.Total != 3 || info.Open != 2 || info.Cancelled != 1 || info.Waiting != 2 {
		t.Errorf("the group is %+v, %v", info, err)
	}
	if _, err := end.GroupByID(g.ID()).Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[plainjobs.State]int{plainjobs.Pending: 1, plainjobs.Scheduled: 1} {
		if jobs, _, err := end.List(ctx, plainjobs.Filter{CallbackOf: g.ID(), States: []plainjobs.State{state}}, 0, 0); err != nil || len(jobs) != want {
			t.Errorf("%d callbacks are %v, %v, want %d", len(jobs), state, err, want)
		}
	}
}
