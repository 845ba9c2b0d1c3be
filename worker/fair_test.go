package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

var fairJob = plainjobs.Declare[string]("worker/fair", plainjobs.FairBy(func(tenant string) string { return tenant }))

// The job of a newcomer starts within the time of twice the jobs that workers hold, although
// another key has 10,000 jobs waiting.
func TestNewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		q := plainjobs.New(store, nil)
		var started, newcomer atomic.Int64
		jobs := bind(q, fairJob, func(_ context.Context, tenant string) error {
			if n := started.Add(1); tenant == "small" {
				newcomer.Store(n)
			}
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		tasks := make([]plainjobs.Task, 1000)
		for i := range tasks {
			tasks[i] = fairJob.With("large")
		}
		for range 10 {
			if _, err := q.PerformMany(t.Context(), tasks...); err != nil {
				t.Fatal(err)
			}
		}
		stops := []func() error{
			start(t, q, worker.Options{Jobs: jobs, Concurrency: 4}), start(t, q, worker.Options{Jobs: jobs, Concurrency: 4}),
		}
		time.Sleep(10*time.Second + 50*time.Millisecond)
		perform(t, q, fairJob.With("small"))
		before, held := started.Load(), int64(0)
		counts, err := store.Count(t.Context())
		for _, c := range counts {
			if c.State == backend.Running {
				held += c.Jobs
			}
		}
		if err != nil || held < 8 || before < 100 {
			t.Fatalf("%d jobs have started, and %d are held, %v", before, held, err)
		}
		time.Sleep(20 * time.Second)
		if n := newcomer.Load(); n == 0 || n-before > 2*held {
			t.Errorf("the newcomer's job is the %dth that started since its push, want at most %d", n-before, 2*held)
		}
		for _, stop := range stops {
			mustStop(t, stop)
		}
	})
}
