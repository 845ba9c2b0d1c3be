package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/worker"
)

var neverJob = plainjobs.Declare[string]("life/never", plainjobs.MaxCrashes(-1))

// orphan performs a task whose worker dies at once, so that its job is a suspect.
func orphan(t *testing.T, b backend.Backend, q *plainjobs.Queue, name string, task plainjobs.Task) (id int64) {
	t.Helper()
	id = perform(t, q, task)[0]
	dead := backend.Worker{ID: 7, Lease: time.Second}
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{
		Worker: dead, Register: true, Names: []string{name}, Limit: 1, Suspects: true,
	})
	if err != nil || len(jobs) != 1 || jobs[0].ID != id {
		t.Fatalf("Claim = %+v, %v, want job %d", jobs, err, id)
	}
	if r, err := b.Reap(t.Context(), backend.ReapRequest{Dead: []int64{dead.ID}}); err != nil || r.Rescued+r.Failed != 1 {
		t.Fatalf("Reap = %+v, %v", r, err)
	}
	return id
}

// While a suspect runs, its process starts nothing else, in no other worker either, so
// that a death in this time is due to the suspect. That lasts until the suspect ends,
// and 30 seconds at most.
func TestNothingStartsNextToASuspect(t *testing.T) {
	for what, c := range map[string]struct{ takes, apart time.Duration }{
		"short": {10 * time.Second, 10 * time.Second},
		"long":  {time.Hour, 30 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(nil)
				q := plainjobs.New(b, nil)
				var others atomic.Int32
				began := make(chan struct{})
				first := bind(q, jobA, func(_ context.Context, s string) error {
					if s == "suspect" {
						close(began)
						time.Sleep(c.takes)
					} else {
						others.Add(1)
					}
					return nil
				})
				second := bind(q, jobB, func(context.Context, string) error { others.Add(1); return nil })
				orphan(t, b, q, jobA.Name(), jobA.With("suspect"))
				stop := start(t, q, worker.Options{Jobs: first, Concurrency: 4})
				<-began
				stopSecond := start(t, q, worker.Options{Jobs: second, Concurrency: 4})
				for range 10 {
					perform(t, q, jobA.With(""), jobB.With(""))
				}
				time.Sleep(c.apart - time.Millisecond)
				synctest.Wait()
				if n := others.Load(); n != 0 {
					t.Errorf("%d jobs were started next to a suspect", n)
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if n := others.Load(); n != 20 {
					t.Errorf("%d jobs have run after %v, want 20", n, c.apart)
				}
				time.Sleep(c.takes)
				mustStop(t, stop)
				mustStop(t, stopSecond)
			})
		})
	}
}

// A suspect that awaits another job does not keep it from running.
func TestSuspectAwaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		var waited atomic.Int64
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			id, err := plainjobs.Perform(ctx, textJob.With(""))
			if err != nil {
				return err
			}
			begin := time.Now()
			_, err = textJob.Await(ctx, q, id)
			waited.Store(int64(time.Since(begin)))
			return err
		})
		plainjobs.HandleResult(q, textJob, func(context.Context, string) (string, error) { return "", nil })
		jobs = append(jobs, textJob)
		orphan(t, b, q, jobA.Name(), jobA.With(""))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 2})
		time.Sleep(time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if n := count(t, b, backend.Done); n != 2 || time.Duration(waited.Load()) > 10*time.Second {
			t.Errorf("%d jobs are done, and the suspect has waited for %v", n, time.Duration(waited.Load()))
		}
	})
}

// A worker stores the MaxCrashes of its jobs.
func TestMaxCrashes(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		stop := start(t, q, worker.Options{Jobs: bind(q, neverJob, func(context.Context, string) error { return nil })})
		eventually(t, "the store knows the bound", func() bool {
			names, err := b.(backend.SettingsStore).Names(t.Context())
			return err == nil && len(names) == 1 && names[0].MaxCrashes == -1
		})
		mustStop(t, stop)
	})
}

// While a suspect runs alone, Why says which job the others wait for.
func TestWhyNextToASuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			if s == "suspect" {
				time.Sleep(time.Hour)
			}
			return nil
		})
		suspect := orphan(t, b, q, jobA.Name(), jobA.With("suspect"))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		synctest.Wait()
		other := perform(t, q, jobA.With(""))[0]
		why := func(want string) {
			t.Helper()
			if text, err := q.Why(t.Context(), other); err != nil || !strings.Contains(text, want) {
				t.Errorf("Why = %q, %v, want %q in it", text, err, want)
			}
		}
		why(fmt.Sprintf("Job #%d, which was running when its worker died, runs alone", suspect))
		time.Sleep(engine.SuspectApart + 10*time.Second)
		why("It waits for a slot")
		time.Sleep(time.Hour)
		mustStop(t, stop)
	})
}
