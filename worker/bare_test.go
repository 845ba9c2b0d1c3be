package worker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// bare is a store with nothing but the five methods.
type bare struct{ backend.Backend }

var jobLimited = plainjobs.Define("worker/limited", func(context.Context, int) error { return nil }, plainjobs.MaxRunning(1))

var jobKeyed = plainjobs.Define("worker/keyed", func(context.Context, string) error { return nil },
	plainjobs.UniqueBy(func(key string) string { return key }))

// An option that the store does not keep is an error when the worker starts.
func TestOptionsOfBareStore(t *testing.T) {
	q := plainjobs.New(bare{memory.New(nil)}, nil)
	for field, job := range map[string]plainjobs.AnyJob{"MaxRunning": jobLimited, "Unique": jobKeyed} {
		err := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{job}}).Run(t.Context())
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), job.Name()) || !strings.Contains(err.Error(), field) {
			t.Errorf("Run = %v, want an error that names %s and %s", err, job.Name(), field)
		}
	}
}

// If the store cannot keep an environment, a set variable is an error when the worker
// starts: it could not tell a copy.
func TestEnvironmentOfBareStore(t *testing.T) {
	q := plainjobs.New(bare{memory.New(nil)}, nil)
	jobs := bind(q, jobA, func(context.Context, string) error { return nil })
	t.Setenv("PLAINJOBS_ENV", "production")
	err := worker.New(q, &worker.Options{Jobs: jobs}).Run(t.Context())
	if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "PLAINJOBS_ENV=production") {
		t.Errorf("Run = %v, want an error that names the variable", err)
	}
	t.Setenv("PLAINJOBS_ENV", "")
	if err := start(t, q, worker.Options{Jobs: jobs})(); err != nil {
		t.Errorf("without the variable Run = %v", err)
	}
}

// The worker logs, once for each job name, that the store keeps no progress.
func TestProgressOfBareStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(bare{memory.New(nil)}, nil)
		tell := func(ctx context.Context, _ string) error {
			plainjobs.Progress(ctx, 1, 2)
			plainjobs.Progress(ctx, 2, 2)
			return nil
		}
		jobs := append(bind(q, jobA, tell), bind(q, jobB, tell)...)
		perform(t, q, jobA.With(""), jobA.With(""), jobB.With(""))
		var log bytes.Buffer
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Minute)
		mustStop(t, stop)
		for _, job := range jobs {
			if n := strings.Count(log.String(), "job="+job.Name()+" store="); n != 1 {
				t.Errorf("the log names job %s %d times, want once:\n%s", job.Name(), n, log.String())
			}
		}
	})
}

// heartless is a store that can be read and operated, and has no heartbeats.
type heartless struct {
	backend.Backend
	backend.Reader
	backend.Operator
}

// Without heartbeats the run of another worker cannot be ended: the error says so, and
// the run is not counted. The run of a worker of this queue is ended.
func TestCancelWithoutHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		store := heartless{b, b, b}
		here, there := plainjobs.New(store, nil), plainjobs.New(store, nil)
		ended := make(chan error, 2)
		wait := func(ctx context.Context, _ string) error {
			select {
			case <-ctx.Done():
				ended <- context.Cause(ctx)
				return ctx.Err()
			case <-time.After(time.Minute):
				ended <- nil
				return nil
			}
		}
		stopHere := start(t, here, worker.Options{Jobs: bind(here, jobA, wait), Concurrency: 2})
		stopThere := start(t, there, worker.Options{Jobs: bind(there, jobB, wait), Concurrency: 2})
		ids := perform(t, here, jobA.With(""), jobB.With(""), jobB.With("", plainjobs.In(time.Hour)))
		time.Sleep(time.Second)
		n, err := here.Cancel(t.Context(), plainjobs.Filter{IDs: ids})
		if n != 2 || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Cancel of a run here, a run there and a job that waits = %d, %v, want 2 and ErrUnsupported", n, err)
		}
		if cause := <-ended; !errors.Is(cause, plainjobs.ErrCancelled) {
			t.Errorf("the run here ended with %v", cause)
		}
		if cause := <-ended; cause != nil {
			t.Errorf("the run there ended with %v", cause)
		}
		synctest.Wait()
		mustStop(t, stopHere)
		mustStop(t, stopThere)
		for i, want := range []backend.State{backend.Cancelled, backend.Done, backend.Cancelled} {
			if s := state(t, b, ids[i]); s != want {
				t.Errorf("job %d is %v, want %v", i, s, want)
			}
		}
		if n, err := here.Cancel(t.Context(), plainjobs.Filter{IDs: ids}); n != 0 || err != nil {
			t.Errorf("Cancel of jobs that are finished = %d, %v", n, err)
		}
	})
}
