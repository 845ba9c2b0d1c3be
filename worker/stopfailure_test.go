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

// A process that was stopped during a heartbeat sends another one before it loses its
// runs.
func TestStoppedWhileItBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		var runs atomic.Int32
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			runs.Add(1)
			select {
			case <-time.After(time.Hour):
			case <-ctx.Done():
				t.Errorf("the context ended: %v", context.Cause(ctx))
			}
			return nil
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		synctest.Wait()
		b.frozen.Store(true)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		mustStop(t, stop)
		if i := info(t, b, id); b.frozen.Load() || i.State != backend.Done || runs.Load() != 1 {
			t.Errorf("after %d runs the job is %+v", runs.Load(), i)
		}
	})
}

// A worker stops in time although it cannot store the ends of its runs.
func TestStopWhileNothingCanBeSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		b.unsettled.Store(true)
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		for range 5000 {
			perform(t, q, jobA.With(""))
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 4})
		time.Sleep(time.Minute) // the slots wait for room
		begin := time.Now()
		mustStop(t, stop)
		if took := time.Since(begin); took > 25*time.Second { // the grace and five seconds
			t.Errorf("Run returned after %v", took)
		}
	})
}

// Run returns within the grace and five seconds, although the store accepts nothing.
// Handlers that have ended get the grace to be stored.
func TestStopIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		grace, within time.Duration
		handler       time.Duration // how long it takes
		handBack      bool
	}{
		"no grace": {-1, 5 * time.Second, time.Hour, false},
		"grace":    {2 * time.Second, 7 * time.Second, time.Hour, false},
		"ended":    {2 * time.Second, 7 * time.Second, time.Second, false},
		"released": {time.Hour, 10*time.Second + 5*time.Second, time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &faulty{Backend: memory.New(nil)}
				q := plainjobs.New(b, nil)
				started := make(chan struct{})
				jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
					close(started)
					select {
					case <-time.After(c.handler):
					case <-ctx.Done():
					}
					return ctx.Err()
				})
				perform(t, q, jobA.With(""))
				back := make(chan struct{})
				stop := start(t, q, worker.Options{Jobs: jobs, Grace: c.grace, ReleaseNow: back})
				<-started
				b.unsettled.Store(true)
				b.mute.Store(true)
				begin := time.Now()
				if c.handBack {
					go func() {
						time.Sleep(10 * time.Second)
						close(back)
					}()
				}
				mustStop(t, stop)
				if took := time.Since(begin); took > c.within {
					t.Errorf("Run returned %v after its context ended, want %v at most", took, c.within)
				}
			})
		})
	}
}

// The end of a run within the grace is stored within it, once the store answers again.
func TestStopStoresWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		started := make(chan struct{})
		jobs := bind(q, jobA, func(context.Context, string) error { close(started); return nil })
		b.unsettled.Store(true)
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs})
		<-started
		go func() {
			time.Sleep(15 * time.Second)
			b.unsettled.Store(false)
		}()
		mustStop(t, stop)
		if s := state(t, b, id); s != backend.Done {
			t.Errorf("the job is %v, want done", s)
		}
	})
}
