package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// The handler's context ends when its worker was declared dead, and its result is not
// stored.
func TestLostLeaseEndsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		b := memory.New(&memory.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
		q := plainjobs.New(b, nil)
		causes := make(chan error, 10)
		var runs atomic.Int32
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			if runs.Add(1) > 1 {
				return nil
			}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return errors.New("too late to be stored")
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs})
		synctest.Wait()
		before := time.Now()
		offset.Store(int64(time.Hour))
		if r, err := b.Reap(t.Context(), backend.ReapRequest{Expired: true}); err != nil || r.Rescued != 1 {
			t.Fatalf("Reap = %+v, %v", r, err)
		}
		select {
		case cause := <-causes:
			if !errors.Is(cause, plainjobs.ErrLeaseLost) {
				t.Errorf("the cause is %v, want ErrLeaseLost", cause)
			}
		case <-time.After(time.Minute):
			t.Fatal("the handler's context has not ended after a minute")
		}
		if took := time.Since(before); took > 10*time.Second {
			t.Errorf("the worker learnt of it after %v, want a third of the lease at most", took)
		}
		time.Sleep(time.Minute) // registered again, it runs the job again
		synctest.Wait()
		mustStop(t, stop)
		if i := info(t, b, id); i.State != backend.Done || i.Failures != 0 || len(i.Errors) != 0 {
			t.Errorf("the job is %+v", i)
		}
	})
}

// When the clock jumps all workers look dead. They must not reap each other.
func TestNoMassReap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		b := memory.New(&memory.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		var lost atomic.Int32
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			select {
			case <-gate:
			case <-ctx.Done():
				lost.Add(1)
			}
			return nil
		})
		var stops []func() error
		for range 5 {
			perform(t, q, jobA.With(""))
			stops = append(stops, start(t, q, worker.Options{Jobs: jobs, Concurrency: 1}))
			time.Sleep(1700 * time.Millisecond) // their beats are spread
		}
		for _, jump := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, time.Minute, -time.Minute} {
			time.Sleep(time.Minute)
			offset.Add(int64(jump))
		}
		time.Sleep(time.Minute)
		close(gate)
		synctest.Wait()
		for _, stop := range stops {
			mustStop(t, stop)
		}
		if lost.Load() != 0 || count(t, b, backend.Done) != 5 {
			t.Errorf("%d live workers lost their leases", lost.Load())
		}
	})
}

// The jobs of a dead worker run again within four thirds of its lease.
func TestDeadWorkersJobsRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		var runs, most, running atomic.Int32
		jobs := bind(q, jobA, func(context.Context, string) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Millisecond)
			running.Add(-1)
			runs.Add(1)
			return nil
		})
		const n = 20
		for range n {
			perform(t, q, jobA.With(""))
		}
		dead := backend.Worker{ID: 7, Lease: 30 * time.Second}
		if held, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: dead, Register: true, Names: []string{"a"}, Limit: n}); err != nil || len(held) != n {
			t.Fatalf("Claim = %d jobs, %v", len(held), err)
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 8})
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if runs.Load() != 0 {
			t.Errorf("%d jobs ran within the lease of their worker", runs.Load())
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		mustStop(t, stop)
		if runs.Load() != n || count(t, b, backend.Done) != n {
			t.Errorf("%d jobs ran again, want %d", runs.Load(), n)
		}
		// Each of them may be what killed the worker.
		if most.Load() != 1 {
			t.Errorf("%d suspects ran at once, want 1", most.Load())
		}
	})
}

// Suspects run although the worker always has other jobs waiting.
func TestSuspectsDoNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		done := make(chan struct{})
		var stopped atomic.Bool
		jobs := bind(q, jobA, func(ctx context.Context, s string) error {
			time.Sleep(time.Millisecond)
			if s == "suspect" {
				close(done)
			} else if !stopped.Load() {
				_, err := plainjobs.Perform(ctx, jobA.With(""))
				return err
			}
			return nil
		})
		perform(t, q, jobA.With("suspect"))
		dead := backend.Worker{ID: 7, Lease: time.Second}
		if held, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: dead, Register: true, Names: []string{"a"}, Limit: 1}); err != nil || len(held) != 1 {
			t.Fatal(held, err)
		}
		for range 1000 {
			perform(t, q, jobA.With("", plainjobs.Priority(1))) // each performs the next
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 2})
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("the suspect has not run")
		}
		stopped.Store(true)
		mustStop(t, stop)
	})
}

// A claim whose reply was lost leaves leases that the worker does not know. Its
// heartbeats would renew them forever, so it releases them.
func TestUnknownLeasesAreHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			if s == "holds the slot" {
				<-gate
			}
			return nil
		})
		first := perform(t, q, jobA.With("holds the slot"))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		synctest.Wait()
		self := backend.Worker{ID: info(t, b, first).Worker, Lease: 30 * time.Second}
		id := perform(t, q, jobA.With(""))[0]
		if held, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: self, Names: []string{"a"}, Limit: 1}); err != nil || len(held) != 1 {
			t.Fatal(held, err)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if i := info(t, b, id); i.State != backend.Pending || i.Failures != 0 || i.Suspect {
			t.Errorf("the job of the lost reply is %+v, want it released", i)
		}
		if s := state(t, b, first); s != backend.Running {
			t.Errorf("the held job is %v", s)
		}
		close(gate)
		synctest.Wait()
		mustStop(t, stop)
		if n := count(t, b, backend.Done); n != 2 {
			t.Errorf("%d jobs are done, want 2", n)
		}
	})
}

// Prefetched jobs are released when the job before them is slow.
func TestSlowJobHoldsNothingBack(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		slow := make(chan struct{})
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			if s == "slow" {
				close(slow)
				<-gate
			}
			return nil
		})
		var tasks []plainjobs.Task
		for i := range 2000 {
			if i == 1000 {
				tasks = append(tasks, jobA.With("slow"))
			}
			tasks = append(tasks, jobA.With("fast"))
		}
		perform(t, q, tasks...)
		first := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		<-slow
		second := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		eventually(t, "the other worker runs all the rest", func() bool { return count(t, b, backend.Done) == 2000 })
		close(gate)
		mustStop(t, first)
		mustStop(t, second)
	})
}

// While the store is locked results wait, and none is lost.
func TestLockedDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	var runs atomic.Int32
	gate := make(chan struct{})
	jobs := bind(q, jobA, func(context.Context, string) error {
		runs.Add(1)
		<-gate
		return nil
	})
	for range 4 {
		perform(t, q, jobA.With(""))
	}
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 4})
	eventually(t, "all run", func() bool { return runs.Load() == 4 })

	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	close(gate)
	// A push finds the lock taken, too, and says so when its context ends.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := q.Perform(ctx, jobA.With("")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Perform on a locked database = %v", err)
	}
	if n := count(t, b, backend.Running); n != 4 {
		t.Errorf("%d jobs are running, want 4", n)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the results are stored", func() bool { return count(t, b, backend.Done) == 4 })
	mustStop(t, stop)
	if runs.Load() != 4 {
		t.Errorf("%d runs, want 4", runs.Load())
	}
}

// Two workers on one file, through two handles, share the jobs and run each
// once.
func TestWorkersShare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	const n = 2000
	var mu sync.Mutex
	runs := map[string]int{}
	var stops []func() error
	var q *plainjobs.Queue
	for range 3 {
		q = plainjobs.New(openSQLite(t, path, nil), nil)
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			i, _ := plainjobs.FromContext(ctx)
			mu.Lock()
			defer mu.Unlock()
			runs[string(rune(i.ID))]++
			return nil
		})
		stops = append(stops, start(t, q, worker.Options{Jobs: jobs, Concurrency: 4}))
	}
	for range n / 100 {
		var tasks []plainjobs.Task
		for range 100 {
			tasks = append(tasks, jobA.With(""))
		}
		perform(t, q, tasks...)
	}
	b := openSQLite(t, path, nil)
	eventually(t, "all are done", func() bool { return count(t, b, backend.Done) == n })
	for _, stop := range stops {
		mustStop(t, stop)
	}
	for id, k := range runs {
		if k != 1 {
			t.Errorf("job %d ran %d times", []rune(id)[0], k)
		}
	}
	if len(runs) != n {
		t.Errorf("%d jobs ran, want %d", len(runs), n)
	}
}
