package postgrestest

import (
	"cmp"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// A bloated store has so many dead rows that claims begin at the last claimed job.
type bloated struct {
	t      *testing.T
	s      *schema
	b      *postgres.Backend
	worker backend.Worker
	held   []backend.Job // in the order in which they were claimed
}

// bloat returns a store with dead rows that cannot be removed before the end of the
// test.
func (d Driver) bloat(t *testing.T) *bloated {
	s := d.schema(t)
	e := &bloated{t: t, s: s, b: s.open(t, &postgres.Options{Schema: s.name}), worker: backend.Worker{ID: 1, Lease: time.Hour}}
	tx, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.Exec("SELECT count(*) FROM " + s.name + ".job"); err != nil {
		t.Fatal(err)
	}
	// Some jobs of each priority and name that the cases add.
	for range 6 {
		jobs := make([]backend.NewJob, 1000)
		for i := range jobs {
			jobs[i] = newJob([]string{"a", "b"}[i%2])
			jobs[i].Priority = int16(i % 3)
		}
		e.push(e.b, jobs...)
		e.claim(1000)
		e.complete(len(e.held))
	}
	return e
}

func (e *bloated) push(b *postgres.Backend, jobs ...backend.NewJob) []int64 {
	e.t.Helper()
	pushed, err := b.Push(e.t.Context(), jobs)
	if err != nil {
		e.t.Fatalf("Push: %v", err)
	}
	ids := make([]int64, len(pushed))
	for i, p := range pushed {
		ids[i] = p.ID
	}
	return ids
}

// claim claims and returns the IDs.
func (e *bloated) claim(limit int) []int64 {
	e.t.Helper()
	got, err := e.b.Claim(e.t.Context(), backend.ClaimRequest{Worker: e.worker, Register: true, Names: []string{"a", "b"}, Limit: limit})
	if err != nil {
		e.t.Fatalf("Claim: %v", err)
	}
	e.held = append(e.held, got...)
	ids := make([]int64, len(got))
	for i, j := range got {
		ids[i] = j.ID
	}
	return ids
}

// pass pushes and completes new jobs, so that claims start after them.
func (e *bloated) pass() {
	e.t.Helper()
	var jobs []backend.NewJob
	for p := range int16(3) {
		for _, name := range []string{"a", "b"} {
			j := newJob(name)
			j.Priority = p
			jobs = append(jobs, j)
		}
	}
	for range 3 {
		e.push(e.b, jobs...)
		e.claim(10)
		e.complete(len(jobs))
	}
}

// complete completes the last n claimed jobs.
func (e *bloated) complete(n int) {
	e.t.Helper()
	var done []backend.Completion
	for _, j := range e.held[len(e.held)-n:] {
		done = append(done, backend.Completion{Lease: j.Lease})
	}
	e.held = e.held[:len(e.held)-n]
	if lost, err := e.b.Complete(e.t.Context(), done); err != nil || len(lost) > 0 {
		e.t.Fatalf("Complete = %v, %v", lost, err)
	}
}

// wantNext fails unless the next claim returns a job first.
func (e *bloated) wantNext(what string, id int64) {
	e.t.Helper()
	got := e.claim(1)
	if len(got) != 1 || got[0] != id {
		e.t.Fatalf("%s: the claim returned %v, want job %d", what, got, id)
	}
	e.complete(1)
}

// wantSoon fails unless a job is claimed in the end, while others arrive.
func (e *bloated) wantSoon(what string, id int64) {
	e.t.Helper()
	start, claims := time.Now(), 0
	until(e.t, func() bool {
		e.push(e.b, newJob("a"), newJob("b"))
		got := e.claim(2)
		claims++
		e.complete(len(got))
		return slices.Contains(got, id)
	})
	e.t.Logf("%s: found after %v by claim %d", what, time.Since(start), claims)
}

// testPosition makes jobs claimable before the position where claims begin. The next claim finds jobs that this
// process made claimable; later claims find the others.
func (d Driver) testPosition(t *testing.T) {
	e := d.bloat(t)
	other := e.s.open(t, &postgres.Options{Schema: e.s.name, NoListen: true})
	ctx := t.Context()
	hold := func(job backend.NewJob) backend.Job { // an old one
		e.push(e.b, job)
		e.claim(1)
		j := e.held[len(e.held)-1]
		e.held = e.held[:len(e.held)-1]
		e.pass()
		return j
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fail := func(b *postgres.Backend, j backend.Job, f backend.Failure) {
		t.Helper()
		f.Lease = j.Lease
		_, err := b.Fail(ctx, []backend.Failure{f})
		must(err)
	}

	j := hold(newJob("a"))
	fail(e.b, j, backend.Failure{Ending: backend.EndRelease})
	e.wantNext("released", j.ID)

	j = hold(newJob("a"))
	fail(e.b, j, backend.Failure{Ending: backend.EndRetry})
	e.wantNext("retried at once", j.ID)

	j = hold(newJob("a"))
	fail(e.b, j, backend.Failure{Ending: backend.EndFailed})
	_, err := e.b.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{j.ID}}})
	must(err)
	e.wantNext("retried by an operator", j.ID)

	j = hold(newJob("b"))
	fail(e.b, j, backend.Failure{Ending: backend.EndRetry, Delay: time.Hour})
	e.pass()
	e.s.exec(t, fmt.Sprintf("UPDATE %s.job SET run_at = 1 WHERE id = %d", e.s.name, j.ID))
	e.wantNext("due", j.ID)

	later := newJob("a")
	later.Delay = time.Hour
	id := e.push(e.b, later)[0]
	e.pass()
	e.s.exec(t, fmt.Sprintf("UPDATE %s.job SET run_at = 1 WHERE id = %d", e.s.name, id))
	_, err = e.b.Reap(ctx, backend.ReapRequest{})
	must(err)
	e.wantNext("made pending by Reap", id)

	serial := newJob("a")
	serial.Serial = "s"
	first, next := e.push(e.b, serial)[0], e.push(e.b, serial)[0]
	e.claim(1)
	j, e.held = e.held[len(e.held)-1], e.held[:len(e.held)-1]
	e.pass()
	_, err = e.b.Complete(ctx, []backend.Completion{{Lease: j.Lease}})
	must(err)
	if j.ID != first {
		t.Fatalf("job %d was claimed, want %d", j.ID, first)
	}
	e.wantNext("next in line", next)

	urgent := newJob("a")
	urgent.Priority = 100
	id = e.push(other, urgent)[0]
	e.push(e.b, newJob("a"))
	e.wantSoon("of a higher priority, by another process, which does not notify", id)

	e.push(e.b, newJob("a"))
	gone := backend.Worker{ID: 9, Lease: time.Hour}
	got, err := other.Claim(ctx, backend.ClaimRequest{Worker: gone, Register: true, Names: []string{"a"}, Limit: 1})
	must(err)
	e.pass()
	fail(other, got[0], backend.Failure{Ending: backend.EndRelease})
	e.wantSoon("released by another process, which does not notify", got[0].ID)

	tx, err := e.s.db.BeginTx(ctx, nil)
	must(err)
	pushed, err := e.b.PushTx(ctx, tx, []backend.NewJob{newJob("a")})
	must(err)
	e.pass()
	must(tx.Commit())
	e.wantSoon("committed late", pushed[0].ID)

	// A waiting worker is woken, and finds the job.
	tx, err = e.s.db.BeginTx(ctx, nil)
	must(err)
	pushed, err = other.PushTx(ctx, tx, []backend.NewJob{newJob("b")})
	must(err)
	e.pass()
	must(tx.Commit())
	must(e.b.Wait(ctx, backend.ClaimRequest{Worker: e.worker, Names: []string{"a", "b"}, Limit: 1}))
	e.wantNext("waited for", pushed[0].ID)
}

// testPositionOrder claims, releases and adds at random. Within one process claims must
// be in exact order.
func (d Driver) testPositionOrder(t *testing.T) {
	e := d.bloat(t)
	rounds := 150
	if long() {
		rounds = 3000
	}
	type place struct {
		id       int64
		priority int16
		turn     int // a retry gets a new turn, a release does not
	}
	var waiting []place
	places := map[int64]place{}
	for i := range rounds {
		switch n := rand.IntN(4); {
		case n == 0 && len(e.held) > 0:
			at := rand.IntN(len(e.held))
			j := e.held[at]
			e.held = slices.Delete(e.held, at, at+1)
			f := backend.Failure{Lease: j.Lease, Ending: []backend.Ending{backend.EndRelease, backend.EndRetry}[rand.IntN(2)]}
			if _, err := e.b.Fail(t.Context(), []backend.Failure{f}); err != nil {
				t.Fatal(err)
			}
			if f.Ending == backend.EndRetry {
				places[j.ID] = place{j.ID, j.Priority, i}
			}
			waiting = append(waiting, places[j.ID])
		case n <= 1:
			jobs := make([]backend.NewJob, rand.IntN(5))
			for k := range jobs {
				jobs[k] = newJob([]string{"a", "b"}[rand.IntN(2)])
				jobs[k].Priority = int16(rand.IntN(4))
			}
			for k, id := range e.push(e.b, jobs...) {
				places[id] = place{id, jobs[k].Priority, i}
				waiting = append(waiting, places[id])
			}
		default:
			slices.SortFunc(waiting, func(x, y place) int {
				return cmp.Or(cmp.Compare(y.priority, x.priority), cmp.Compare(x.turn, y.turn), cmp.Compare(x.id, y.id))
			})
			limit := rand.IntN(4)
			got := e.claim(limit)
			for k := range min(limit, len(waiting)) {
				if k >= len(got) || got[k] != waiting[k].id {
					t.Fatalf("round %d: a claim of %d returned %v, want those of %v", i, limit, got, waiting[:min(limit, len(waiting))])
				}
			}
			waiting = slices.Delete(waiting, 0, len(got))
			if half := len(e.held) / 2; half > 5 {
				e.complete(half)
			}
		}
	}
}
