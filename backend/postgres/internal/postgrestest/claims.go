package postgrestest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/conformance"
)

func newJob(name string) backend.NewJob {
	return backend.NewJob{Name: name, Payload: []byte("{}"), MaxAttempts: 3}
}

func push(tb testing.TB, b backend.Backend, name string, n int) {
	tb.Helper()
	jobs := make([]backend.NewJob, n)
	for i := range jobs {
		jobs[i] = newJob(name)
	}
	if _, err := b.Push(tb.Context(), jobs); err != nil {
		tb.Fatalf("Push: %v", err)
	}
}

// count returns the number of jobs in a state.
func count(tb testing.TB, b backend.Reader, state backend.State) (n int64) {
	tb.Helper()
	counts, err := b.Count(context.Background())
	if err != nil {
		tb.Fatalf("Count: %v", err)
	}
	for _, c := range counts {
		if c.State == state {
			n += c.Jobs
		}
	}
	return n
}

// A ledger records the valid lease of each job, as the clients see it.
type ledger struct {
	mu     sync.Mutex
	holder map[int64]int64 // by job: the worker that received it
	done   map[int64]bool
	double int
}

// claimed records that a worker received a job, and counts it if another has it.
func (l *ledger) claimed(worker, job int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder[job] != 0 || l.done[job] {
		l.double++
	}
	l.holder[job] = worker
}

func (l *ledger) ended(job int64, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.holder, job)
	if done {
		l.done[job] = true
	}
}

func (l *ledger) finished() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

// testClaims runs many clients that claim and settle jobs while their connections are
// killed at random. No two clients may hold a job at once, and no job may be lost.
func (d Driver) testClaims(t *testing.T) {
	jobs := 5_000
	if !testing.Short() && long() {
		jobs = 100_000
	}
	const clients = 16
	s := d.schema(t)
	first := s.open(t, &postgres.Options{Schema: s.name})
	for left := jobs; left > 0; left -= 1000 {
		push(t, first, "a", min(left, 1000))
	}
	stores := make([]*postgres.Backend, clients)
	for i := range stores {
		stores[i] = s.open(t, &postgres.Options{Schema: s.name})
	}
	l := &ledger{holder: map[int64]int64{}, done: map[int64]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var kills, lostReplies atomic.Int64
	var killer sync.WaitGroup
	killer.Go(func() {
		for ctx.Err() == nil {
			if n, err := s.kill(ctx); err == nil {
				kills.Add(n)
			}
			select {
			case <-time.After(40 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	var wg sync.WaitGroup
	for i, b := range stores {
		wg.Go(func() {
			c := &client{t: t, b: b, l: l, worker: backend.Worker{ID: int64(i + 1), Lease: time.Hour, Host: "h"}, lost: &lostReplies}
			c.run(ctx, jobs)
		})
	}
	wg.Wait()
	cancel()
	killer.Wait()
	t.Logf("%d jobs by %d clients, %d connections killed, %d answers lost, %d claimed twice", jobs, clients, kills.Load(), lostReplies.Load(), l.double)
	if l.double != 0 || l.finished() != jobs || kills.Load() == 0 {
		t.Errorf("%d jobs were claimed twice, %d of %d done, %d kills", l.double, l.finished(), jobs, kills.Load())
	}
	if n := count(t, first, backend.Done); n != int64(jobs) {
		t.Errorf("%d jobs are done, want %d", n, jobs)
	}
	consistent(t, s.open(t, &postgres.Options{Schema: s.name})) // on connections that live
}

// kill ends connections of the schema's stores, and returns their number.
func (s *schema) kill(ctx context.Context) (n int64, err error) {
	const query = `
		SELECT count(pg_terminate_backend(pid)) FROM (
			SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%' ORDER BY random() LIMIT 1) victim`
	err = s.db.QueryRowContext(ctx, query, s.name).Scan(&n)
	return n, err
}

// A client is a worker that only claims and settles.
type client struct {
	t      *testing.T
	b      *postgres.Backend
	l      *ledger
	worker backend.Worker
	lost   *atomic.Int64
}

func (c *client) run(ctx context.Context, jobs int) {
	for c.l.finished() < jobs && ctx.Err() == nil {
		got, err := c.b.Claim(ctx, backend.ClaimRequest{Worker: c.worker, Register: true, Names: []string{"a"}, Limit: 20})
		if err != nil {
			c.wantUnavailable("Claim", err)
			continue
		}
		for _, j := range got {
			c.l.claimed(c.worker.ID, j.ID)
		}
		if len(got) == 0 {
			c.release(ctx)
			continue
		}
		c.settle(ctx, got)
	}
}

// settle ends the runs: it completes most and releases some.
func (c *client) settle(ctx context.Context, got []backend.Job) {
	var done []backend.Completion
	var back []backend.Failure
	for _, j := range got {
		if j.ID%10 == 0 && j.Token%2 == 0 {
			back = append(back, backend.Failure{Lease: j.Lease, Ending: backend.EndRelease})
			c.l.ended(j.ID, false) // before another client can claim it
		} else {
			done = append(done, backend.Completion{Lease: j.Lease})
		}
	}
	c.repeat(ctx, "Complete", func() ([]backend.Lease, error) { return c.b.Complete(ctx, done) })
	for _, d := range done {
		c.l.ended(d.ID, true)
	}
	c.repeat(ctx, "Fail", func() ([]backend.Lease, error) { return c.b.Fail(ctx, back) })
}

// repeat settles until it gets an answer.
func (c *client) repeat(ctx context.Context, what string, settle func() ([]backend.Lease, error)) {
	for ctx.Err() == nil {
		lost, err := settle()
		if err == nil {
			// If the answer to a release was lost, other clients may have claimed the
			// job before the release is repeated.
			if len(lost) > 0 && what == "Complete" {
				c.t.Errorf("%s returned lost leases %v", what, lost)
			}
			return
		}
		c.wantUnavailable(what, err)
	}
}

// release releases the jobs of claims whose answers were lost.
func (c *client) release(ctx context.Context) {
	r, err := c.b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: c.worker})
	if err != nil {
		c.wantUnavailable("Heartbeat", err)
		return
	}
	var back []backend.Failure
	for _, lease := range r.Leases {
		back = append(back, backend.Failure{Lease: lease, Ending: backend.EndRelease})
	}
	if _, err := c.b.Fail(ctx, back); err != nil {
		c.wantUnavailable("Fail", err)
	}
}

// wantUnavailable fails the test unless a killed connection may cause the error.
func (c *client) wantUnavailable(what string, err error) {
	c.lost.Add(1)
	if !errors.Is(err, backend.ErrUnavailable) {
		c.t.Errorf("%s: %v, want ErrUnavailable", what, err)
	}
}

// testConnections checks that killed connections are replaced, without errors where
// nothing can have been stored.
func (d Driver) testConnections(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	push(t, b, "a", 100)
	w := backend.Worker{ID: 1, Lease: time.Minute}
	for range 10 {
		for {
			n, err := s.kill(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		jobs, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 1})
		if err != nil || len(jobs) != 1 {
			t.Errorf("Claim after its connections were killed = %d jobs, %v", len(jobs), err)
		}
	}
}

// testSerializable uses the strictest isolation levels for the application's
// transactions, and as the default of the store's role.
func (d Driver) testSerializable(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		tx, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
		if err != nil {
			t.Fatal(err)
		}
		job := newJob("a")
		job.Unique.Key, job.Serial = fmt.Sprint("key", level), "s"
		if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{job, newJob("a")}); err != nil {
			t.Errorf("PushTx at %v: %v", level, err)
		}
		if err := tx.Commit(); err != nil {
			t.Errorf("Commit at %v: %v", level, err)
		}
	}
	if n := count(t, b, backend.Pending) + count(t, b, backend.Blocked); n != 4 {
		t.Errorf("%d jobs wait, want 4", n)
	}
}

// testClaimsLockedKey claims while a transaction of the application has locked the key
// that a job releases when it starts. Jobs of other names and without keys are claimed
// as usual, and this job when the transaction has ended.
func (d Driver) testClaimsLockedKey(t *testing.T) {
	for _, expires := range []time.Duration{0, time.Minute} {
		for _, limit := range []int{1, 10} {
			store := d.store(t, conformance.Options{}, postgres.Options{})
			b := store.Open(t)
			keyed := newJob("a")
			keyed.Unique = backend.Unique{Key: "k", Scope: backend.UntilStarted}
			keyed.Expires = expires
			if _, err := b.Push(t.Context(), []backend.NewJob{keyed}); err != nil {
				t.Fatal(err)
			}
			push(t, b, "b", 1)
			tx := pushing(t, store.DB(t), b, keyed)
			defer tx.Rollback()
			claim := func(name string) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				jobs, err := b.Claim(ctx, backend.ClaimRequest{
					Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"a", "b"}, Limit: limit})
				if err != nil || len(jobs) != 1 || jobs[0].Name != name {
					t.Errorf("Claim of %d = %+v, %v; want a job of %s", limit, jobs, err, name)
				}
			}
			claim("b")
			// All waiting jobs are locked: a worker that waits for a job does not spin.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for range 3 {
				jobs, err := b.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Names: []string{"a"}, Limit: limit})
				if err != nil || len(jobs) != 0 {
					t.Errorf("Claim = %+v, %v; want none", jobs, err)
				}
				if err := b.(backend.Waiter).Wait(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Names: []string{"a"}, Limit: limit}); err != nil {
					t.Errorf("Wait: %v", err)
				}
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			claim("a")
		}
	}
}
