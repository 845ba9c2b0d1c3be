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

// A heartbeat stores which of the claimed jobs have started, and when. A job that waits
// for a slot has no start. A finished job has the start of its run, unless the run was
// short.
func TestStartsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		next := make(chan struct{})
		fn := func(_ context.Context, s string) error {
			if s == "long" {
				<-next
			}
			return nil
		}
		stop := start(t, q, worker.Options{Jobs: bind(q, jobA, fn), Concurrency: 1})
		ids := perform(t, q, jobA.With("short"))
		synctest.Wait()
		time.Sleep(time.Second)
		began := time.Now()
		ids = append(ids, perform(t, q, jobA.With("long"), jobA.With("waits"))...)
		time.Sleep(10 * time.Second) // more than a beat
		synctest.Wait()
		started := func(n int, state backend.State) time.Time {
			t.Helper()
			i, err := q.Get(t.Context(), ids[n])
			if err != nil || i.State != state {
				t.Fatalf("job %d is %v, %v; want %v", ids[n], i.State, err, state)
			}
			return i.StartedAt
		}
		if at := started(0, backend.Done); !at.IsZero() {
			t.Errorf("the start of the short run is stored: %v", at)
		}
		if at := started(1, backend.Running); at.Sub(began).Abs() > time.Second {
			t.Errorf("the long run was started at %v, want %v", at, began)
		}
		if i, err := q.Get(t.Context(), ids[2]); err != nil || !i.StartedAt.IsZero() {
			t.Errorf("the job that waits was started at %v, %v", i.StartedAt, err)
		}
		close(next)
		time.Sleep(time.Second)
		synctest.Wait()
		i, err := q.Get(t.Context(), ids[1])
		if err != nil || i.FinishedAt.Sub(i.StartedAt) < 9*time.Second || i.FinishedAt.Sub(i.StartedAt) > 11*time.Second {
			t.Errorf("the long run took from %v to %v, %v", i.StartedAt, i.FinishedAt, err)
		}
		mustStop(t, stop)
	})
}
