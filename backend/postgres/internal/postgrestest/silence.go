package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// commit is the length of the last message of a transaction.
const commit = len("Qxxxx") + len("COMMIT") + 1

// testSilence makes the network silent when only the commit of a transaction is left.
// The server does not notice that the client has given up, and must still release its
// locks: others rescue its jobs, and push its keys.
//
// It is for pgx, whose calls end with their context on a silent network.
func (d Driver) testSilence(t *testing.T) {
	if d.Name != "pgx" {
		t.Skip("a silent network is tested with pgx")
	}
	s := d.schema(t)
	direct := s.open(t, &postgres.Options{Schema: s.name})
	p, b := s.openThrough(t)
	keyed := newJob("k")
	keyed.Unique = backend.Unique{Key: "key", For: 24 * time.Hour}
	worker := int64(0)
	var lease backend.Lease
	rescued := func(ctx context.Context) error {
		for ctx.Err() == nil {
			r, err := direct.Reap(ctx, backend.ReapRequest{Expired: true})
			if err != nil || r.Rescued > 0 {
				return err
			}
		}
		return ctx.Err()
	}
	for _, call := range []struct {
		what   string
		silent func(context.Context) error
		others func(context.Context) error
	}{
		{"Heartbeat", func(ctx context.Context) error {
			_, err := b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: backend.Worker{ID: worker, Lease: time.Second}})
			return err
		}, rescued},
		{"Complete", func(ctx context.Context) error {
			_, err := b.Complete(ctx, []backend.Completion{{Lease: lease, Result: []byte("r")}}) // without a result it would be a single statement
			return err
		}, rescued},
		{"Push", func(ctx context.Context) error {
			_, err := b.Push(ctx, []backend.NewJob{keyed})
			return err
		}, func(ctx context.Context) error {
			_, err := direct.Push(ctx, []backend.NewJob{keyed})
			return err
		}},
	} {
		// What a call sends changes if statements must be prepared again, and on a busy
		// machine the call may not reach its commit. Then the round proves nothing and is
		// repeated.
		open := 0
		for tries := 0; open == 0; tries++ {
			if tries == 10 {
				t.Fatalf("%s never left a transaction open", call.what)
			}
			bytes := 0
			for i := range 4 { // the last time is silent; the first times prepare statements
				worker++
				keyed.Unique.Key = fmt.Sprint("key", worker)
				push(t, direct, "a", 1)
				w := backend.Worker{ID: worker, Lease: time.Second}
				jobs, err := direct.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 1, Suspects: true})
				if err != nil || len(jobs) != 1 {
					t.Fatalf("Claim = %d jobs, %v", len(jobs), err)
				}
				lease = jobs[0].Lease
				if i == 3 {
					break
				}
				p.Count()
				ctx, cancel := context.WithTimeout(t.Context(), callTime) // a call without a deadline sends more
				err = call.silent(ctx)
				cancel()
				if err != nil {
					t.Fatalf("%s: %v", call.what, err)
				}
				bytes, _ = p.Count()
				if _, err := direct.Complete(t.Context(), []backend.Completion{{Lease: lease}}); err != nil {
					t.Fatal(err)
				}
			}
			p.Arm(false, bytes-commit, true)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			err := call.silent(ctx)
			cancel()
			const query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = $1"
			if err := s.db.QueryRow(query, s.name).Scan(&open); err != nil {
				t.Fatal(err)
			}
			if open > 0 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s on a silent network = %v, want the context's error", call.what, err)
			}
			if open == 0 {
				p.Disarm()
				p.Cut()
				if _, err := direct.Complete(t.Context(), []backend.Completion{{Lease: lease}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := call.others(ctx); err != nil {
			t.Errorf("while %s is silent, other calls fail: %v", call.what, err)
		}
		cancel()
		t.Logf("%s was silent: others continued after %v", call.what, time.Since(began))
		p.Disarm()
		p.Cut()
	}
}

// testSilentHost opens a store on two hosts, the first of which is silent, like a host
// without power: no call may spend its whole deadline on that host.
//
// It is for pgx, which supports several hosts.
func (d Driver) testSilentHost(t *testing.T) {
	if d.Name != "pgx" {
		t.Skip("a DSN of several hosts is tested with pgx")
	}
	server := pgcluster.Own(t)
	s := d.schema(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // never accepts
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	dsn := fmt.Sprintf("host=127.0.0.1,%s port=%d,%d user=%s dbname=postgres sslmode=disable target_session_attrs=read-write",
		server.Dir(), silent.Addr().(*net.TCPAddr).Port, server.Port, pgcluster.Superuser)
	b, err := d.Open(dsn, &postgres.Options{Schema: s.name})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a third of the usual lease
	defer cancel()
	if _, err := b.Push(ctx, []backend.NewJob{newJob("a")}); err != nil {
		t.Errorf("Push: %v", err)
	}
}
