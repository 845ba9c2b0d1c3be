package postgrestest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// testWakeUp measures how soon a waiting worker notices a job of another process: with
// LISTEN, after its connection was cut, and without LISTEN.
func (d Driver) testWakeUp(t *testing.T) {
	s := d.schema(t)
	pusher := s.open(t, &postgres.Options{Schema: s.name})
	waiter := s.open(t, &postgres.Options{Schema: s.name})
	quiet := s.open(t, &postgres.Options{Schema: s.name, NoListen: true})
	for what, b := range map[string]*postgres.Backend{"with LISTEN": waiter, "without LISTEN": quiet} {
		var took []time.Duration
		for i := range 12 {
			if i == 6 {
				s.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%"+s.name+"%'")
			}
			took = append(took, s.wakeUp(t, b, pusher))
		}
		slices.Sort(took)
		t.Logf("a job of another process is noticed %s after %v at the median, %v at most", what, took[len(took)/2], took[len(took)-1])
	}
}

// testListens looks for the connection that listens: a store that only pushes and
// claims has none.
func (d Driver) testListens(t *testing.T) {
	if d.Name != "pgx" {
		t.Skip("database/sql cannot listen, and package pgx can")
	}
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	listens := func() (n int) {
		err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' || $1 || '%' AND pid <> pg_backend_pid()",
			s.name).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	push(t, b, "b", 1)
	req := backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"a"}, Limit: 10}
	if _, err := b.Claim(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if n := listens(); n != 0 {
		t.Errorf("%d connections listen for a store that has not waited", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() { waited <- b.Wait(ctx, req) }()
	until(t, func() bool { return listens() == 1 })
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want the context's error", err)
	}
}

func (s *schema) wakeUp(t *testing.T, waiter, pusher *postgres.Backend) time.Duration {
	t.Helper()
	w := backend.Worker{ID: 1, Lease: time.Minute}
	req := backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 10}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := make(chan error, 1)
	go func() { heard <- waiter.Wait(ctx, req) }()
	start := time.Now()
	push(t, pusher, "a", 1)
	if err := <-heard; err != nil {
		t.Fatalf("Wait: %v", err)
	}
	took := time.Since(start)
	if jobs, err := pusher.Claim(t.Context(), req); err != nil || len(jobs) != 1 {
		t.Fatalf("Claim = %d jobs, %v", len(jobs), err)
	}
	return took
}

// testGivenUp cancels many waits, as a worker does whenever it has a free slot. No wait
// may lose the connection of its poll: a driver closes the connection of a cancelled
// call, and the next call must prepare all statements again.
func (d Driver) testGivenUp(t *testing.T) {
	s := d.schema(t)
	b, err := d.Open(s.with("application_name", s.name), &postgres.Options{Schema: s.name, NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	req := backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Names: []string{"a"}, Limit: 10}
	wait := func(atMost time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), atMost)
		defer cancel()
		if err := b.Wait(ctx, req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v, want the context's error", err)
		}
	}
	sessions := func() (pids string) {
		err := s.db.QueryRowContext(t.Context(), "SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity WHERE application_name = $1",
			s.name).Scan(&pids)
		if err != nil {
			t.Fatal(err)
		}
		return pids
	}
	wait(100 * time.Millisecond)
	before := sessions()
	for range 200 {
		wait(rand.N(2 * time.Millisecond))
	}
	if after := sessions(); after != before || before == "" {
		t.Errorf("after cancelled waits the sessions changed from %[2]q to %[1]q", after, before)
	}
}
