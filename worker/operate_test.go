package worker_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

func TestPauseAndResume(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		ran := make(chan string, 10)
		jobs := bind(q, jobA, func(_ context.Context, s string) error { ran <- s; return nil })
		jobs = append(jobs, bind(q, jobB, func(_ context.Context, s string) error { ran <- s; return nil })...)
		if err := q.Pause(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		stop := start(t, q, worker.Options{Jobs: jobs})
		perform(t, q, jobA.With("a"), jobB.With("b"))
		if s := <-ran; s != "b" {
			t.Fatalf("%s ran, which is paused", s)
		}
		if err := q.Resume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if s := <-ran; s != "a" {
			t.Errorf("%s ran", s)
		}
		mustStop(t, stop)
	})
}

// Cancelling ends a running handler at once in the same process, and with the
// next heartbeat in another, for which a second handle stands.
func TestCancelRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	near := plainjobs.New(openSQLite(t, path, nil), nil)
	far := plainjobs.New(openSQLite(t, path, nil), nil)
	b := openSQLite(t, path, nil)
	started, causes := make(chan int64), make(chan error)
	jobs := bind(near, jobA, func(ctx context.Context, s string) error {
		i, _ := plainjobs.FromContext(ctx)
		started <- i.ID
		<-ctx.Done()
		causes <- context.Cause(ctx)
		if s == "finishes" {
			return nil
		}
		return plainjobs.RetryAfter(time.Hour, ctx.Err()) // which it does not get
	})
	stop := start(t, near, worker.Options{Jobs: jobs, Concurrency: 1, Lease: 400 * time.Millisecond})
	for _, c := range []struct {
		from *plainjobs.Queue
		data string
		want backend.State
	}{
		{near, "stops", backend.Cancelled}, {far, "stops", backend.Cancelled}, {far, "finishes", backend.Done},
	} {
		perform(t, near, jobA.With(c.data))
		id := <-started
		if n, err := c.from.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{id}}); n != 1 || err != nil {
			t.Fatalf("Cancel = %d, %v", n, err)
		}
		if cause := <-causes; !errors.Is(cause, plainjobs.ErrCancelled) {
			t.Errorf("the cause is %v, want ErrCancelled", cause)
		}
		eventually(t, "the job is settled", func() bool { return state(t, b, id) != backend.Running })
		if s := state(t, b, id); s != c.want {
			t.Errorf("a cancelled job whose handler %s is %v, want %v", c.data, s, c.want)
		}
	}
	mustStop(t, stop)
}

func TestProgress(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			for i := range 10_000 {
				plainjobs.Progress(ctx, int64(i), 10_000)
			}
			<-gate
			return nil
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs})
		// The last report is stored, whatever was reported before.
		eventually(t, "the progress is stored", func() bool {
			i, err := q.Get(t.Context(), id)
			return err == nil && i.ProgressDone == 9_999 && i.ProgressTotal == 10_000
		})
		close(gate)
		mustStop(t, stop)
	})
}

// The last progress of a run is stored, even if the run ends right after it.
func TestLastProgress(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(ctx context.Context, s string) error {
			for i := range int64(10) {
				plainjobs.Progress(ctx, i+1, 10)
			}
			if s == "fails" {
				return errors.New("no")
			}
			return nil
		})
		ids := perform(t, q, jobA.With(""), jobA.With(""), jobA.With("fails", plainjobs.MaxAttempts(1)))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		eventually(t, "all have ended", func() bool { return count(t, b, backend.Done, backend.Failed) == 3 })
		mustStop(t, stop)
		for _, id := range ids {
			if i := info(t, b, id); i.Done != 10 || i.Total != 10 {
				t.Errorf("the job, which is %v, has come to %d of %d", i.State, i.Done, i.Total)
			}
		}
	})
}
