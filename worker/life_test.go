package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	timeoutJob = plainjobs.Declare[string]("life/timeout", plainjobs.Timeout(time.Minute), plainjobs.MaxAttempts(1))
	cappedJob  = plainjobs.Declare[string]("life/capped", plainjobs.Concurrency(2), plainjobs.Aliases("life/capped-old"))
	narrowJob  = plainjobs.Declare[string]("life/narrow", plainjobs.Concurrency(1), plainjobs.Aliases("life/narrow-old"))
	maxJob     = plainjobs.Declare[string]("life/max", plainjobs.MaxRunning(3))
	rateJob    = plainjobs.Declare[string]("life/rate", plainjobs.RateLimit(5, time.Minute))
	serialJob  = plainjobs.Declare[string]("life/serial", plainjobs.SerialBy(func(s string) string { return s[:1] }))
	keptJob    = plainjobs.Declare[string]("life/kept", plainjobs.Keep(plainjobs.History{Done: -1}))
	sumJob     = plainjobs.DeclareResult[[]int, int]("life/sum")

	hourlyJob = plainjobs.Cron("life/hourly", "0 * * * *", func(context.Context, time.Time) error { return nil })
	skipJob   = plainjobs.Cron("life/skip", "0 * * * *", func(context.Context, time.Time) error { return nil }, plainjobs.CatchUp(0))
	threeJob  = plainjobs.Cron("life/three", "0 * * * *", func(context.Context, time.Time) error { return nil }, plainjobs.CatchUp(3))
	everyJob  = plainjobs.Every("life/every", 10*time.Minute, func(context.Context, time.Time) error { return nil })
	marsJob   = plainjobs.Cron("life/mars", "0 * * * *", func(context.Context, time.Time) error { return nil }, plainjobs.Zone("Mars/Olympus"))
)

// The context of a handler that takes too long ends. A handler that ignores that is
// reported with its stack.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		var cause error
		plainjobs.Handle(q, timeoutJob, func(ctx context.Context, s string) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the context has no deadline")
			}
			if s == "ignores" {
				standHere(gate)
				return nil
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			return ctx.Err()
		})
		var log lockedBuffer
		var mu sync.Mutex
		var stuck []int64
		defer q.Subscribe(func(e plainjobs.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == plainjobs.EventStuck {
				stuck = append(stuck, e.Job.ID)
			}
		})()
		ids := perform(t, q, timeoutJob.With("heeds"), timeoutJob.With("ignores"))
		stop := start(t, q, worker.Options{
			Jobs: []plainjobs.AnyJob{timeoutJob}, Concurrency: 2, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if i := info(t, b, ids[0]); i.State != backend.Failed || !errors.Is(cause, plainjobs.ErrTimeout) || !errors.Is(cause, context.DeadlineExceeded) {
			t.Errorf("the run that took too long is %v, its cause %v", i.State, cause)
		}
		mu.Lock()
		if !slices.Equal(stuck, ids[1:]) {
			t.Errorf("reported as stuck: %v, want %v", stuck, ids[1:])
		}
		mu.Unlock()
		if text := log.String(); !strings.Contains(text, "standHere") || !strings.Contains(text, "life/timeout") {
			t.Errorf("the report does not say where the handler stands: %s", text)
		}
		close(gate)
		synctest.Wait()
		if s := state(t, b, ids[1]); s != backend.Done {
			t.Errorf("the run that ended well after all is %v", s)
		}
		mustStop(t, stop)
	})
}

//go:noinline
func standHere(gate chan struct{}) { <-gate }

// most runs n tasks of a job on workers with two handlers each and returns how
// many ran at once, and how many others of jobA did meanwhile.
func most(t *testing.T, b backend.Backend, job *plainjobs.Job[string], name string, workers int) (same, others int64) {
	t.Helper()
	q := plainjobs.New(b, nil)
	var running, highest, free atomic.Int64
	plainjobs.Handle(q, job, func(context.Context, string) error {
		n := running.Add(1)
		for old := highest.Load(); n > old && !highest.CompareAndSwap(old, n); old = highest.Load() {
		}
		time.Sleep(2 * time.Millisecond) // runs take a while
		running.Add(-1)
		return nil
	})
	plainjobs.Handle(q, jobA, func(context.Context, string) error { free.Add(1); return nil })
	const n = 30
	for i := range n {
		task := job.With(fmt.Sprint("k", i))
		perform(t, q, task, jobA.With(""))
		if name != job.Name() {
			if _, err := b.Push(t.Context(), []backend.NewJob{{Name: name, Payload: []byte(`"k"`), MaxAttempts: 1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var stops []func() error
	for range workers {
		stops = append(stops, start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{job, jobA}, Concurrency: 8}))
	}
	eventually(t, "all are done", func() bool {
		return count(t, b, backend.Pending, backend.Running, backend.Blocked) == 0
	})
	for _, stop := range stops {
		mustStop(t, stop)
	}
	return highest.Load(), free.Load()
}

func TestConcurrencyOfOneJob(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		if n, others := most(t, b, cappedJob, "life/capped-old", 1); n != 2 || others != 30 {
			t.Errorf("%d ran at once, want 2 by Concurrency; %d others ran", n, others)
		}
	})
}

// The aliases of a job with a Concurrency take turns, and finding its jobs takes a few
// claims for each, however many other names there are.
func TestNamesOfOneJobTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &watched{Backend: memory.New(nil), completes: map[time.Time]bool{}}
		q := plainjobs.New(b, nil)
		jobs := bind(q, narrowJob, func(context.Context, string) error { return nil })
		for _, other := range []*plainjobs.Job[string]{jobA, jobB, jobRenamed, cappedJob, maxJob, rateJob, serialJob, keptJob, timeoutJob} {
			jobs = append(jobs, bind(q, other, func(context.Context, string) error { return nil })...)
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 4})
		for _, name := range []string{"life/narrow", "life/narrow-old"} {
			time.Sleep(time.Minute)
			b.mu.Lock()
			before := b.asked
			b.mu.Unlock()
			const n = 100
			push := make([]backend.NewJob, n)
			for i := range push {
				push[i] = backend.NewJob{Name: name, Payload: []byte(`""`), MaxAttempts: 1}
			}
			done := count(t, b.Backend, backend.Done)
			if _, err := b.Push(t.Context(), push); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			b.mu.Lock()
			claims := b.asked - before
			b.mu.Unlock()
			if got := count(t, b.Backend, backend.Done) - done; got != n || claims > 4*n {
				t.Errorf("%d of %d jobs named %s are done after %d claims, want all after %d at most", got, n, name, claims, 4*n)
			}
		}
		mustStop(t, stop)
	})
}

func TestMaxRunningOfAllWorkers(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		if n, others := most(t, b, maxJob, maxJob.Name(), 3); n > 3 || n < 2 || others != 30 {
			t.Errorf("%d ran at once, want 3 by MaxRunning; %d others ran", n, others)
		}
	})
}

func TestSerialKeys(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		var mu sync.Mutex
		running, order := map[string]bool{}, map[string][]string{}
		failed := map[string]bool{}
		plainjobs.Handle(q, serialJob, func(_ context.Context, s string) error {
			key := s[:1]
			mu.Lock()
			if running[key] {
				t.Errorf("two jobs with the key %s run at once", key)
			}
			running[key] = true
			again := s[1:] == "3" && !failed[s]
			failed[s] = true
			if !again {
				order[key] = append(order[key], s[1:])
			}
			mu.Unlock()
			time.Sleep(time.Millisecond) // runs take a while
			mu.Lock()
			running[key] = false
			mu.Unlock()
			if again {
				return plainjobs.RetryAfter(10*time.Millisecond, errors.New("once more"))
			}
			return nil
		})
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint(i))
			perform(t, q, serialJob.With(fmt.Sprint("a", i)), serialJob.With(fmt.Sprint("b", i)), serialJob.With(fmt.Sprint("c", i)))
		}
		var stops []func() error
		for range 2 {
			stops = append(stops, start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{serialJob}, Concurrency: 4}))
		}
		eventually(t, "all are done", func() bool { return count(t, b, backend.Done) == 30 })
		for _, stop := range stops {
			mustStop(t, stop)
		}
		for _, key := range []string{"a", "b", "c"} {
			// A job that is retried holds up those behind it.
			if !slices.Equal(order[key], want) {
				t.Errorf("jobs with the key %s ran in the order %v", key, order[key])
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now()
		var mu sync.Mutex
		var starts []time.Duration
		plainjobs.Handle(q, rateJob, func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			starts = append(starts, time.Since(begin))
			return nil
		})
		for range 12 {
			perform(t, q, rateJob.With(""))
		}
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{rateJob}, Concurrency: 4})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if len(starts) != 12 {
			t.Fatalf("%d ran, want 12", len(starts))
		}
		for i := 5; i < len(starts); i++ {
			if gap := starts[i] - starts[i-5]; gap < time.Minute || gap > time.Minute+2*time.Second {
				t.Errorf("starts %d and %d are %v apart, want a minute", i-5, i, gap)
			}
		}
	})
}

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

// A result is available in another process as soon as the job is done.
func TestAwait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	q, other := plainjobs.New(openSQLite(t, path, nil), nil), plainjobs.New(openSQLite(t, path, nil), nil)
	plainjobs.HandleResult(q, sumJob, func(_ context.Context, ns []int) (sum int, err error) {
		for _, n := range ns {
			sum += n
		}
		return sum, nil
	})
	stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{sumJob}})
	id := perform(t, other, sumJob.With([]int{1, 2, 3}))[0]
	if sum, err := sumJob.Await(t.Context(), other, id); sum != 6 || err != nil {
		t.Errorf("Await = %d, %v, want 6", sum, err)
	}
	mustStop(t, stop)
}

// The writes of a handler and the end of its job are one transaction, which decides,
// whatever the handler returns.
func TestCompleteInTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE balance (amount INTEGER)"); err != nil {
		t.Fatal(err)
	}
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	q := plainjobs.New(b, nil)
	jobs := bind(q, jobA, func(ctx context.Context, s string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO balance VALUES (10)"); err != nil {
			return err
		}
		if err := plainjobs.Complete(ctx, tx); err != nil {
			return err
		}
		switch s {
		case "rolled back":
			return nil
		case "committed, then fails":
			return errors.Join(tx.Commit(), errors.New("after all"))
		}
		return tx.Commit()
	})
	ids := perform(t, q, jobA.With("committed"), jobA.With("committed, then fails"),
		jobA.With("rolled back", plainjobs.MaxAttempts(1)), jobA.With("committed", plainjobs.Serial("s")), jobA.With("committed", plainjobs.Serial("s")))
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
	eventually(t, "all have ended", func() bool { return count(t, b, backend.Done, backend.Failed) == int64(len(ids)) })
	mustStop(t, stop)
	for i, want := range []backend.State{backend.Done, backend.Done, backend.Failed, backend.Done, backend.Done} {
		if got := info(t, b, ids[i]); got.State != want || want == backend.Failed && !strings.Contains(got.Errors[0].Error, "was not committed") {
			t.Errorf("job %d is %v with %+v, want %v", i, got.State, got.Errors, want)
		}
	}
	var sum int
	if err := db.QueryRow("SELECT sum(amount) FROM balance").Scan(&sum); err != nil || sum != 40 {
		t.Errorf("the balance is %d, %v, want 40: each effect once", sum, err)
	}
	if err := plainjobs.Complete(t.Context(), nil); err == nil {
		t.Error("Complete outside of a handler is no error")
	}
}

func TestEvents(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			switch s {
			case "fails":
				return errors.New("no")
			case "cancels":
				return plainjobs.Cancel(nil)
			case "snoozes":
				return plainjobs.Snooze(time.Hour)
			}
			return nil
		})
		var mu sync.Mutex
		var events []string
		stopEvents := q.Subscribe(func(e plainjobs.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprintf("%d %v", e.Job.ID, e.Kind))
		})
		ids := perform(t, q, jobA.With("does"), jobA.With("fails"), jobA.With("fails", plainjobs.MaxAttempts(1)),
			jobA.With("cancels"), jobA.With("snoozes"))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		eventually(t, "all have run", func() bool { return count(t, b, backend.Pending, backend.Running) == 0 })
		mustStop(t, stop)
		stopEvents()
		var want []string
		for _, id := range ids {
			want = append(want, fmt.Sprint(id, " pushed"))
		}
		for i, kind := range []string{"done", "retried", "failed", "cancelled", "snoozed"} {
			want = append(want, fmt.Sprint(ids[i], " started"), fmt.Sprint(ids[i], " ", kind))
		}
		if !slices.Equal(events, want) {
			t.Errorf("events are %q, want %q", events, want)
		}
	})
}

// A job that expires behind a slow one does not start.
func TestExpiresBeforeItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		ran := map[string]bool{}
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			ran[s] = true
			if s == "slow" {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		for range 50 { // fast ones, so that the worker claims ahead
			perform(t, q, jobA.With("fast"))
		}
		soon := plainjobs.Before(time.Now().Add(50 * time.Millisecond))
		ids := perform(t, q, jobA.With("slow"), jobA.With("late", soon), jobA.With("last"))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		mustStop(t, stop)
		if i := info(t, b, ids[1]); ran["late"] || i.State != backend.Cancelled || !strings.Contains(i.Errors[0].Error, "expired") {
			t.Errorf("the job that expired ran: %v, and is %+v", ran["late"], i)
		}
		if !ran["last"] {
			t.Error("what comes after an expired job did not run")
		}
	})
}

// The Keep of a definition applies.
func TestKeep(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		jobs := bind(q, keptJob, func(context.Context, string) error { return nil })
		jobs = append(jobs, bind(q, jobA, func(context.Context, string) error { return nil })...)
		ids := perform(t, q, keptJob.With(""), jobA.With(""))
		stop := start(t, q, worker.Options{Jobs: jobs})
		eventually(t, "both are done", func() bool { return count(t, b, backend.Pending, backend.Running) == 0 })
		mustStop(t, stop)
		if _, err := q.Get(t.Context(), ids[0]); !errors.Is(err, plainjobs.ErrNotFound) {
			t.Errorf("a job that is kept no time is there: %v", err)
		}
		if s := state(t, b, ids[1]); s != backend.Done {
			t.Errorf("the other is %v", s)
		}
	})
}

// ticking binds a schedule's job to a list of its ticks.
func ticking(q *plainjobs.Queue, job *plainjobs.Job[time.Time]) *[]time.Time {
	var ticks []time.Time
	var mu sync.Mutex
	plainjobs.Handle(q, job, func(_ context.Context, tick time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		ticks = append(ticks, tick)
		return nil
	})
	return &ticks
}

func TestSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC() // midnight
		hourly, skip, three, every := ticking(q, hourlyJob), ticking(q, skipJob), ticking(q, threeJob), ticking(q, everyJob)
		opts := worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob, skipJob, threeJob, everyJob}}
		// Two workers, and each tick once.
		stops := []func() error{start(t, q, opts), start(t, q, opts)}
		time.Sleep(3*time.Hour + 30*time.Minute)
		synctest.Wait()
		at := func(hours ...int) (all []time.Time) {
			for _, h := range hours {
				all = append(all, begin.Add(time.Duration(h)*time.Hour))
			}
			return all
		}
		for name, ticks := range map[string]*[]time.Time{"hourly": hourly, "skip": skip, "three": three} {
			if !slices.Equal(*ticks, at(1, 2, 3)) {
				t.Errorf("%s ticked at %v", name, *ticks)
			}
			*ticks = nil
		}
		if len(*every) != 21 || !(*every)[20].Equal(begin.Add(3*time.Hour+30*time.Minute)) {
			t.Errorf("every ten minutes are %d ticks, the last at %v", len(*every), (*every)[len(*every)-1])
		}
		*every = nil
		for _, stop := range stops {
			mustStop(t, stop)
		}
		// No worker runs for more than six hours, from 3:30 to 10:00:30.
		time.Sleep(6*time.Hour + 30*time.Minute + 30*time.Second)
		stop := start(t, q, opts)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		for name, c := range map[string]struct {
			ticks *[]time.Time
			want  []time.Time
		}{"hourly": {hourly, at(10)}, "skip": {skip, at(10)}, "three": {three, at(8, 9, 10)}} {
			slices.SortFunc(*c.ticks, time.Time.Compare)
			if !slices.Equal(*c.ticks, c.want) {
				t.Errorf("%s made up with %v, want %v", name, *c.ticks, c.want)
			}
		}
		if n := len(*every); n != 1+3 {
			t.Errorf("every ten minutes made up with %d ticks in half an hour, want one and three", n)
		}
		mustStop(t, stop)
	})
}

func TestPausedSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC()
		hourly := ticking(q, hourlyJob)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob}})
		time.Sleep(90 * time.Minute)
		if err := q.PauseSchedule(t.Context(), hourlyJob.Name(), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		infos, err := q.Schedules(t.Context())
		if err != nil || len(infos) != 1 || !infos[0].Paused || infos[0].Expression != "0 * * * *" || infos[0].Differs {
			t.Errorf("Schedules = %+v, %v", infos, err)
		}
		if err := q.PauseSchedule(t.Context(), hourlyJob.Name(), false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		mustStop(t, stop)
		if want := []time.Time{begin.Add(time.Hour), begin.Add(5 * time.Hour)}; !slices.Equal(*hourly, want) {
			t.Errorf("ticks are %v, want %v: no missed tick runs", *hourly, want)
		}
	})
}

// A worker without a schedule does not tick it while others have it. A schedule that no
// worker has is removed, and its missed ticks run when a worker has it again.
func TestRemovedSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC()
		hourly, skip, three := ticking(q, hourlyJob), ticking(q, skipJob), ticking(q, threeJob)
		plainjobs.Handle(q, jobA, func(context.Context, string) error { return nil })
		var log lockedBuffer
		with := worker.Options{
			Jobs: []plainjobs.AnyJob{hourlyJob, skipJob, threeJob, jobA}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		stop := start(t, q, with)
		time.Sleep(90 * time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		without := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{jobA}})
		time.Sleep(5 * time.Hour)
		infos, err := q.Schedules(t.Context())
		if err != nil || len(infos) != 3 || infos[0].RemovedAt.IsZero() {
			t.Errorf("Schedules = %+v, %v, want them removed", infos, err)
		}
		stop = start(t, q, with)
		time.Sleep(time.Hour)
		synctest.Wait()
		for name, c := range map[string]struct {
			ticks *[]time.Time
			hours []int
		}{"hourly": {hourly, []int{1, 6, 7}}, "skip": {skip, []int{1, 7}}, "three": {three, []int{1, 4, 5, 6, 7}}} {
			var want []time.Time
			for _, h := range c.hours {
				want = append(want, begin.Add(time.Duration(h)*time.Hour))
			}
			slices.SortFunc(*c.ticks, time.Time.Compare)
			if !slices.Equal(*c.ticks, want) {
				t.Errorf("ticks of %s are %v, want %v", name, *c.ticks, want)
			}
		}
		if n := strings.Count(log.String(), "missed ticks do not run"); n != 3 {
			t.Errorf("the log says %d times that ticks were missed: %s", n, log.String())
		}
		mustStop(t, stop)
		mustStop(t, without)
	})
}

func TestUnknownZone(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	err := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{marsJob}}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Mars/Olympus") || !strings.Contains(err.Error(), "life_test.go:") {
		t.Errorf("Run with an unknown zone = %v", err)
	}
}
