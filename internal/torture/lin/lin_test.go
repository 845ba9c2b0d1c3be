package lin_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/torture/lin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t *testing.T, store lin.Store, seed uint64, ops int, clock func() time.Time) lin.Report {
	t.Helper()
	r, err := lin.Check(t.Context(), store, lin.Config{Seed: seed, Ops: ops, Name: "lin", Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: %d operations on %d jobs, %d unknown, %d lost, %d workers reaped", seed, r.Ops, r.Jobs, r.Unknown, r.Lost, r.Reaped)
	return r
}

func TestMemory(t *testing.T) {
	for seed := range uint64(2) {
		m := memory.New(&memory.Options{Clock: time.Now})
		r := check(t, m, 1+seed, 4000, time.Now)
		for _, f := range r.Faults {
			t.Error(f)
		}
		if r.Undecided > 0 || r.Lost == 0 || r.Reaped == 0 {
			t.Errorf("undecided %d, lost %d, reaped %d", r.Undecided, r.Lost, r.Reaped)
		}
	}
}

// Lost answers are not contradictions.
func TestFaulty(t *testing.T) {
	r := check(t, lin.NewFaulty(memory.New(&memory.Options{Clock: time.Now}), 1, 100), 1, 4000, time.Now)
	for _, f := range r.Faults {
		t.Error(f)
	}
	if r.Unknown == 0 || r.Undecided > 0 {
		t.Errorf("unknown %d, undecided %d", r.Unknown, r.Undecided)
	}
}

// An unfenced store settles a job's current run for any lease.
type unfenced struct {
	*memory.Backend
	mu     sync.Mutex
	latest map[int64]int64
}

func (u *unfenced) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	jobs, err := u.Backend.Claim(ctx, req)
	for _, j := range jobs {
		u.latest[j.ID] = j.Token
	}
	return jobs, err
}

func (u *unfenced) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range done {
		done[i].Token = u.latest[done[i].ID]
	}
	return u.Backend.Complete(ctx, done)
}

// The checker must find a store without fencing.
func TestUnfenced(t *testing.T) {
	for seed := range uint64(10) {
		u := &unfenced{Backend: memory.New(&memory.Options{Clock: time.Now}), latest: map[int64]int64{}}
		if r := check(t, u, 1+seed, 2000, time.Now); r.Illegal == 0 {
			t.Errorf("a store without fencing passed with seed %d", 1+seed)
		}
	}
}
