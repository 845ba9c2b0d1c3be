package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// hold claims the job of a worker that sends no further heartbeat.
func hold(t *testing.T, b backend.Backend) {
	t.Helper()
	dead := backend.Worker{ID: 7, Lease: 30 * time.Second, Jobs: []string{"a"}}
	held, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: dead, Register: true, Names: []string{"a"}, Limit: 1})
	if err != nil || len(held) != 1 {
		t.Fatalf("Claim = %d jobs, %v", len(held), err)
	}
}

// In a crash loop, or on a platform that ends workers after seconds, no worker lives for
// a third of the lease. Dead workers' jobs are still rescued.
func TestShortLivedWorkersRescue(t *testing.T) {
	for _, c := range []struct {
		name        string
		life, pause time.Duration
		within      time.Duration
	}{
		{"one after the other", 4 * time.Second, 0, time.Minute},
		{"every five seconds for a second", time.Second, 4 * time.Second, time.Minute},
		{"every minute for a second", time.Second, time.Minute, 4 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(nil)
				q := plainjobs.New(b, nil)
				jobs := bind(q, jobA, func(context.Context, string) error { return nil })
				id := perform(t, q, jobA.With(""))[0]
				hold(t, b)
				for begin := time.Now(); state(t, b, id) != backend.Done; {
					if time.Since(begin) > c.within {
						t.Fatalf("the job is %v after %v", state(t, b, id), time.Since(begin))
					}
					stop := start(t, q, worker.Options{Jobs: jobs})
					time.Sleep(c.life)
					mustStop(t, stop)
					time.Sleep(c.pause)
				}
			})
		})
	}
}
