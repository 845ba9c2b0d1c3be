package postgrestest

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// testTimeouts makes the server end statements that take too long.
func (d Driver) testTimeouts(t *testing.T) {
	s := d.schema(t)
	opts := &postgres.Options{Schema: s.name}
	s.open(t, opts)
	b, err := d.Open(s.with("options", "-c statement_timeout=200ms"), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	// A push waits for a key that another transaction holds.
	job := newJob("a")
	job.Unique.Key = "k"
	tx := pushing(t, s.db, b, job)
	defer tx.Rollback()
	_, err = b.Push(t.Context(), []backend.NewJob{job})
	if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "ALTER ROLE") {
		t.Errorf("Push = %v, want the advice to allow the role more time", err)
	}
	// It waits no longer than its context.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err = b.Push(ctx, []backend.NewJob{job}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Push = %v, want the context's error", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Push took %v", took)
	}
	push(t, b, "a", 1)
}

// testNoDeadline makes calls without a deadline that wait for a transaction of the same
// goroutine, which would be forever. They give up after ten seconds and say so. If the
// role has a shorter lock_timeout, they try again within the ten seconds.
func (d Driver) testNoDeadline(t *testing.T) {
	s := d.schema(t)
	opts := &postgres.Options{Schema: s.name}
	b := s.open(t, opts)
	push(t, b, "a", 1)
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{
		Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"a"}, Limit: 1})
	if err != nil || len(jobs) != 1 {
		t.Fatalf("Claim = %d jobs, %v", len(jobs), err)
	}
	job := newJob("a")
	job.Unique.Key = "k"
	tx := pushing(t, s.db, b, job)
	defer tx.Rollback()
	done := backend.Completion{Lease: jobs[0].Lease}
	if err := b.CompleteTx(t.Context(), tx, done); err != nil {
		t.Fatal(err)
	}
	hurried, err := d.Open(pgcluster.With(s.with("options", "-c lock_timeout=100ms"), "application_name", s.name), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer hurried.Close()
	var wg sync.WaitGroup
	givesUp := func(call func(context.Context) error) {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			defer time.AfterFunc(time.Minute, cancel).Stop()
			unavailable(t, call(ctx), "Queue.WithTx")
		})
	}
	givesUp(func(ctx context.Context) error {
		_, err := b.Push(ctx, []backend.NewJob{job})
		return err
	})
	givesUp(func(ctx context.Context) error {
		_, err := b.Complete(ctx, []backend.Completion{done})
		return err
	})
	givesUp(func(ctx context.Context) error {
		_, err := hurried.Push(ctx, []backend.NewJob{job})
		return err
	})
	begun := map[time.Time]bool{} // the transactions of the role with the shorter lock_timeout
	until(t, func() bool {
		var at sql.NullTime
		const query = "SELECT max(xact_start) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
		if err := s.db.QueryRowContext(t.Context(), query, s.name).Scan(&at); err != nil {
			t.Fatal(err)
		}
		begun[at.Time] = true
		return len(begun) > 4
	})
	wg.Wait()
}
