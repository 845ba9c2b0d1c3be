package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// Jobs that return, more of them than the slots can run, do not starve new ones.
func TestReturningJobsStarveNoOthers(t *testing.T) {
	for name, c := range map[string]struct {
		jobs int
		end  error
	}{
		"snoozed": {100, plainjobs.Snooze(time.Second)},
		"failed":  {300, plainjobs.RetryAfter(time.Second, errors.New("no"))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := plainjobs.New(memory.New(nil), nil)
				var fresh atomic.Int64
				jobs := bind(q, jobA, func(_ context.Context, s string) error {
					if s == "fresh" {
						fresh.Add(1)
						return nil
					}
					time.Sleep(50 * time.Millisecond)
					return c.end
				})
				for range c.jobs {
					perform(t, q, jobA.With("returns", plainjobs.MaxAttempts(1000)))
				}
				stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 4})
				for range 200 {
					perform(t, q, jobA.With("fresh"))
					time.Sleep(100 * time.Millisecond)
				}
				// Those that returned take their turns once: 300 of 50 ms on 4 slots.
				time.Sleep(5 * time.Second)
				if n := fresh.Load(); n != 200 {
					t.Errorf("%d of 200 new jobs have run", n)
				}
				mustStop(t, stop)
			})
		})
	}
}
