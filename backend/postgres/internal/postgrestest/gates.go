package postgrestest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// testGates pushes bounded jobs from two processes while a transaction of the
// application has locked their gate. The pushes of a process wait on one connection,
// pushes of other names continue, and a cancelled push stores nothing.
func (d Driver) testGates(t *testing.T) {
	const bound, callers = 20, 64
	s := d.schema(t)
	b, second := s.open(t, &postgres.Options{Schema: s.name}), s.open(t, &postgres.Options{Schema: s.name})
	bounded, other := newJob("a"), newJob("b")
	bounded.MaxPending, other.MaxPending = bound, bound
	tx := pushing(t, s.db, b, bounded)
	defer tx.Rollback()

	var stored, refused atomic.Int32
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := func(b *postgres.Backend, n int) {
		for range n {
			wg.Go(func() {
				switch _, err := b.Push(ctx, []backend.NewJob{bounded}); {
				case err == nil:
					stored.Add(1)
				case errors.Is(err, backend.ErrQueueFull):
					refused.Add(1)
				default:
					t.Errorf("Push: %v", err)
				}
			})
		}
	}
	waiting := func() (n int) {
		const query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%gate %'"
		if err := s.db.QueryRowContext(t.Context(), query, s.name).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	start(b, 1)
	until(t, func() bool { return waiting() == 1 })
	start(b, callers/2)
	start(second, callers/2-1)
	hurried, giveUp := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer giveUp()
	if _, err := b.Push(hurried, []backend.NewJob{bounded}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Push while the gate is locked: %v, want the context's error", err)
	}
	for range bound {
		if _, err := b.Push(ctx, []backend.NewJob{other}); err != nil {
			t.Errorf("Push of another name: %v", err)
		}
	}
	until(t, func() bool { return waiting() >= 2 })
	if n := waiting(); n != 2 {
		t.Errorf("%d connections wait for the gate, want one of each process", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if stored.Load() != bound-1 || refused.Load() != callers-bound+1 {
		t.Errorf("%d pushes were stored and %d refused, want %d and %d", stored.Load(), refused.Load(), bound-1, callers-bound+1)
	}
}
