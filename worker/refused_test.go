package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// A choosy store refuses completions and failures of some job, or of all jobs.
type choosy struct {
	*memory.Backend
	large  atomic.Int64 // a result of so many bytes is refused
	slow   atomic.Bool  // everything is refused
	down   atomic.Bool  // everything is refused, as by a server that is away
	refuse atomic.Int64 // how often it did
	text   string       // within an error that is refused
}

func newChoosy(large int64) *choosy {
	b := &choosy{Backend: memory.New(nil)}
	b.large.Store(large)
	return b
}

var errTooLarge = errors.New("canceling statement due to statement timeout")

func (b *choosy) judge(bad bool) error {
	switch {
	case b.down.Load():
		return backend.ErrUnavailable
	case bad || b.slow.Load():
		b.refuse.Add(1)
		return errTooLarge
	}
	return nil
}

func (b *choosy) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	if err := b.judge(slices.ContainsFunc(done, func(c backend.Completion) bool { return int64(len(c.Result)) >= b.large.Load() })); err != nil {
		return nil, err
	}
	return b.Backend.Complete(ctx, done)
}

func (b *choosy) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	bad := slices.ContainsFunc(failures, func(f backend.Failure) bool { return b.text != "" && strings.HasPrefix(f.Error, b.text) })
	if err := b.judge(bad); err != nil {
		return nil, err
	}
	return b.Backend.Fail(ctx, failures)
}

func (b *choosy) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if err := b.judge(false); err != nil {
		return backend.HeartbeatResult{}, err
	}
	return b.Backend.Heartbeat(ctx, req)
}

var jobResult = plainjobs.DefineResult("worker/result", func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil })

// resultsOf performs jobs whose results have some lengths.
func resultsOf(t *testing.T, q *plainjobs.Queue, lengths ...int) (ids []int64) {
	t.Helper()
	for _, n := range lengths {
		ids = append(ids, perform(t, q, jobResult.With(n))...)
	}
	return ids
}

// A result that the store refuses delays no other. Its job fails with the reason when
// the store has refused it alone for a while and accepted others.
func TestRefusedResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newChoosy(1000)
		q := plainjobs.New(b, nil)
		lengths := make([]int, 41)
		lengths[7], lengths[30] = 5000, 6000
		ids := resultsOf(t, q, lengths...)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{jobResult}, Concurrency: 64})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for i, id := range ids {
			want := backend.Done
			if lengths[i] > 0 {
				want = backend.Running
			}
			if s := state(t, b.Backend, id); s != want {
				t.Errorf("after 3 s job %d is %v, want %v", i, s, want)
			}
		}
		// Nothing but heartbeats is stored from here on.
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for _, i := range []int{7, 30} {
			job := info(t, b.Backend, ids[i])
			if job.State != backend.Failed || len(job.Errors) != 1 || !strings.Contains(job.Errors[0].Error, errTooLarge.Error()) {
				t.Errorf("job %d is %+v", i, job)
			}
		}
		if n := b.refuse.Load(); n > 300 {
			t.Errorf("the store refused %d calls", n)
		}
		mustStop(t, stop)
	})
}

// A store that accepts nothing for a while fails no finished job, nor does an
// unavailable one.
func TestSlowStoreFailsNoFinishedJob(t *testing.T) {
	for what, fault := range map[string]func(*choosy) *atomic.Bool{
		"slow": func(b *choosy) *atomic.Bool { return &b.slow },
		"away": func(b *choosy) *atomic.Bool { return &b.down },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newChoosy(1 << 20)
				q := plainjobs.New(b, nil)
				stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{jobResult}, Concurrency: 8})
				synctest.Wait()
				fault(b).Store(true)
				ids := resultsOf(t, q, make([]int, 200)...)
				for range 20 { // with moments in which something is stored
					time.Sleep(20 * time.Second)
					fault(b).Store(false)
					time.Sleep(100 * time.Millisecond)
					fault(b).Store(true)
				}
				fault(b).Store(false)
				time.Sleep(30 * time.Second)
				synctest.Wait()
				for i, id := range ids {
					if s := state(t, b.Backend, id); s != backend.Done {
						t.Errorf("job %d is %v", i, s)
					}
				}
				mustStop(t, stop)
			})
		})
	}
}

// A heartbeat is no evidence against an end that is as small.
func TestRefusedWithoutResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newChoosy(0) // it refuses every completion
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := state(t, b.Backend, id); s != backend.Running {
			t.Errorf("the job is %v, want running: its end was refused, and nothing else was stored", s)
		}
		b.large.Store(1)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := state(t, b.Backend, id); s != backend.Done {
			t.Errorf("the job is %v, want done", s)
		}
		mustStop(t, stop)
	})
}

// A failure whose error the store refuses ends as intended, with that reason.
func TestRefusedError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newChoosy(1 << 20)
		b.text = "odd"
		q := plainjobs.New(b, nil)
		var runs atomic.Int64
		jobs := bind(q, jobA, func(context.Context, string) error {
			if runs.Add(1) == 1 {
				return fmt.Errorf("odd")
			}
			return nil
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		job := info(t, b.Backend, id)
		if job.State != backend.Done || runs.Load() != 2 || job.Failures != 1 || !strings.Contains(job.Errors[0].Error, errTooLarge.Error()) {
			t.Errorf("after %d runs the job is %+v", runs.Load(), job)
		}
		mustStop(t, stop)
	})
}

// A unique job that performs its successor while it has the key gets an error.
func TestUniqueSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		errs := make(chan error, 2)
		jobs := bind(q, jobA, func(ctx context.Context, how string) error {
			opts := []plainjobs.UniqueOption{}
			if how == "until started" {
				opts = append(opts, plainjobs.UntilStarted())
			}
			_, err := q.Perform(ctx, jobA.With("last", plainjobs.Unique(how, opts...)))
			if how != "last" {
				errs <- err
			}
			return nil
		})
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		id := perform(t, q, jobA.With("finished", plainjobs.Unique("finished")))[0]
		d := (*backend.DuplicateError)(nil)
		if err := <-errs; !errors.As(err, &d) || d.ID != id || !strings.Contains(err.Error(), "nothing was stored") {
			t.Errorf("the successor of job %d: %v, want a DuplicateError", id, err)
		}
		perform(t, q, jobA.With("until started", plainjobs.Unique("until started", plainjobs.UntilStarted())))
		if err := <-errs; err != nil {
			t.Errorf("the successor of one that is unique until it starts: %v", err)
		}
		synctest.Wait()
		mustStop(t, stop)
	})
}
