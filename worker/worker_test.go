package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/worker"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// The jobs of these tests are declared; each test binds its own handlers.
var (
	jobA = plainjobs.Declare[string]("a")
	jobB = plainjobs.Declare[string]("b")
)

// bind returns the option that restricts a worker to jobs with handlers.
func bind(q *plainjobs.Queue, job *plainjobs.Job[string], fn func(context.Context, string) error) []plainjobs.AnyJob {
	plainjobs.Handle(q, job, fn)
	return []plainjobs.AnyJob{job}
}

// stores are what the tests that need no simulated time run on.
var stores = map[string]func(t *testing.T) backend.Backend{
	"memory": func(*testing.T) backend.Backend { return memory.New(nil) },
	"modernc": func(t *testing.T) backend.Backend {
		return openSQLite(t, filepath.Join(t.TempDir(), "jobs.db"), nil)
	},
}

func openSQLite(t *testing.T, path string, opts *sqlite.Options) *sqlite.Backend {
	t.Helper()
	b, err := modernc.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func onEachStore(t *testing.T, test func(t *testing.T, b backend.Backend)) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// start runs a worker and returns what ends it and returns Run's error.
func start(t *testing.T, q *plainjobs.Queue, opts worker.Options) (stop func() error) {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.New(q, &opts).Run(ctx) }()
	return sync.OnceValue(func() error { cancel(); return <-done })
}

func mustStop(t *testing.T, stop func() error) {
	t.Helper()
	if err := stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func perform(t *testing.T, q *plainjobs.Queue, tasks ...plainjobs.Task) []int64 {
	t.Helper()
	ids, err := q.PerformMany(t.Context(), tasks...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for tick := time.NewTicker(2 * time.Millisecond); ; <-tick.C {
		if cond() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			tick.Stop()
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func state(t *testing.T, b backend.Backend, id int64) backend.State {
	t.Helper()
	return info(t, b, id).State
}

func info(t *testing.T, b backend.Backend, id int64) backend.Info {
	t.Helper()
	i, err := b.(backend.Reader).Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// count returns how many jobs are in one of the states, all at one moment.
func count(t *testing.T, b backend.Backend, states ...backend.State) (n int64) {
	t.Helper()
	counts, err := b.(backend.Reader).Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if slices.Contains(states, c.State) {
			n += c.Jobs
		}
	}
	return n
}

func TestRunsJobs(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		type seen struct {
			data string
			info plainjobs.Info
			ok   bool
		}
		runs := make(chan seen, 10)
		jobs := bind(q, jobA, func(ctx context.Context, s string) error {
			i, ok := plainjobs.FromContext(ctx)
			runs <- seen{s, i, ok}
			if s == "first" { // a handler's Perform goes to its own queue
				_, err := plainjobs.Perform(ctx, jobA.With("second", plainjobs.Priority(-3)))
				return err
			}
			return nil
		})
		id := perform(t, q, jobA.With("first", plainjobs.MaxAttempts(4)))[0]
		stop := start(t, q, worker.Options{Jobs: jobs})
		first, second := <-runs, <-runs
		eventually(t, "both are done", func() bool { return count(t, b, backend.Done) == 2 })
		mustStop(t, stop)
		if first.data != "first" || !first.ok || first.info.ID != id || first.info.Name != "a" || first.info.Attempt != 1 ||
			first.info.MaxAttempts != 4 || first.info.CreatedAt.IsZero() {
			t.Errorf("first run saw %+v", first)
		}
		if second.data != "second" || second.info.Priority != -3 {
			t.Errorf("second run saw %+v", second)
		}
	})
}

func TestConcurrency(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		const n = 7
		q := plainjobs.New(b, nil)
		var running, most atomic.Int32
		gate := make(chan struct{})
		jobs := bind(q, jobA, func(context.Context, string) error {
			if r := running.Add(1); r > most.Load() {
				most.Store(r)
			}
			<-gate
			running.Add(-1)
			return nil
		})
		for range 3 * n {
			perform(t, q, jobA.With(""))
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: n})
		eventually(t, "all slots are busy", func() bool { return running.Load() == n })
		close(gate)
		eventually(t, "all are done", func() bool { return count(t, b, backend.Done) == 3*n })
		mustStop(t, stop)
		if most.Load() != n {
			t.Errorf("%d handlers ran at once, want %d", most.Load(), n)
		}
	})
}

func TestRetriesThenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now()
		var at []time.Duration
		var attempts []int
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			i, _ := plainjobs.FromContext(ctx)
			attempts = append(attempts, i.Attempt)
			at = append(at, time.Since(begin))
			return fmt.Errorf("no luck %d", i.Attempt)
		})
		id := perform(t, q, jobA.With("", plainjobs.MaxAttempts(4)))[0]
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(time.Hour)
		synctest.Wait()
		mustStop(t, stop)
		if !slices.Equal(attempts, []int{1, 2, 3, 4}) {
			t.Fatalf("attempts are %v", attempts)
		}
		// attempt⁴ seconds, 10 % more or less
		for i, want := range []time.Duration{time.Second, 16 * time.Second, 81 * time.Second} {
			if gap := at[i+1] - at[i]; gap < want*9/10 || gap > want*11/10+time.Second {
				t.Errorf("attempt %d came after %v, want %v ± 10 %%", i+2, gap, want)
			}
		}
		stored := info(t, b, id)
		if stored.State != backend.Failed || stored.Failures != 4 || len(stored.Errors) != 4 || stored.Errors[3].Error != "no luck 4" {
			t.Errorf("the job is %+v", stored)
		}
	})
}

func TestResultsByError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		boom := errors.New("boom")
		runs := map[string]int{}
		var mu sync.Mutex
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			mu.Lock()
			defer mu.Unlock()
			runs[s]++
			first := runs[s] == 1
			switch {
			case s == "cancel":
				return fmt.Errorf("wrapped: %w", plainjobs.Cancel(boom))
			case s == "retry" && first:
				return plainjobs.RetryAfter(time.Hour, boom)
			case s == "snooze" && first:
				return plainjobs.Snooze(time.Hour)
			case s == "negative" && first:
				return plainjobs.RetryAfter(-time.Hour, boom)
			}
			return nil
		})
		ids := perform(t, q, jobA.With("cancel"), jobA.With("retry"), jobA.With("snooze"), jobA.With("negative"))
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		for i, want := range []backend.State{backend.Cancelled, backend.Scheduled, backend.Scheduled, backend.Done} {
			if got := state(t, b, ids[i]); got != want {
				t.Errorf("job %d is %v, want %v", i, got, want)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		mustStop(t, stop)
		for i, want := range []struct {
			state    backend.State
			failures int
		}{{backend.Cancelled, 0}, {backend.Done, 1}, {backend.Done, 0}, {backend.Done, 1}} {
			if got := info(t, b, ids[i]); got.State != want.state || got.Failures != want.failures {
				t.Errorf("job %d is %v with %d failures, want %v with %d", i, got.State, got.Failures, want.state, want.failures)
			}
		}
	})
}

// A snooze of no time is one of a second: a job that snoozes costs no attempt,
// and would keep a slot busy for ever.
func TestSnoozeOfNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		var at []time.Time
		jobs := bind(q, jobA, func(context.Context, string) error {
			if at = append(at, time.Now()); len(at) == 3 {
				return nil
			}
			return plainjobs.Snooze(0)
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if s := state(t, b, id); s != backend.Done || len(at) != 3 {
			t.Fatalf("after %d runs the job is %v", len(at), s)
		}
		for i := range 2 {
			if gap := at[i+1].Sub(at[i]); gap < time.Second {
				t.Errorf("run %d came %v after the one before, want a second", i+2, gap)
			}
		}
	})
}

func TestHandlerPanics(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			switch s {
			case "panic":
				panic("ouch")
			case "panic nil":
				panic(nil)
			case "goexit":
				runtime.Goexit()
			case "error panics":
				return badError{}
			case "nil error panics":
				return (*wrapper)(nil)
			}
			return nil
		})
		once := plainjobs.MaxAttempts(1)
		kinds := []string{"panic", "panic nil", "goexit", "error panics", "nil error panics"}
		var tasks []plainjobs.Task
		for range 25 { // more than there are slots: none may be lost
			for _, kind := range kinds {
				tasks = append(tasks, jobA.With(kind, once), jobA.With("fine"))
			}
		}
		ids := perform(t, q, tasks...)
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 3})
		eventually(t, "all have ended", func() bool {
			return count(t, b, backend.Failed) == 125 && count(t, b, backend.Done) == 125
		})
		mustStop(t, stop)
		for i, want := range []string{"panic: ouch", "panic: panic called with nil argument", "runtime.Goexit", "panicked", "panicked"} {
			errs := info(t, b, ids[2*i]).Errors
			if len(errs) != 1 || !strings.Contains(errs[0].Error, want) {
				t.Errorf("%s: errors are %+v, want %q", kinds[i], errs, want)
			}
			if i < 3 && !strings.Contains(errs[0].Stack, "worker_test.go") {
				t.Errorf("%s: the stack does not show the handler: %s", kinds[i], errs[0].Stack)
			}
		}
	})
}

type badError struct{}

func (badError) Error() string { panic("in Error") }

// A wrapper panics in every method if it is nil, as errors of users may.
type wrapper struct{ err error }

func (w *wrapper) Error() string { return w.err.Error() }
func (w *wrapper) Unwrap() error { return w.err }

func TestPayloadDoesNotDecode(t *testing.T) {
	const secret = "hunter2"
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		var log lockedBuffer
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		push := func(payload string) int64 {
			pushed, err := b.Push(t.Context(), []backend.NewJob{{Name: "a", Payload: []byte(payload), MaxAttempts: 2}})
			if err != nil {
				t.Fatal(err)
			}
			return pushed[0].ID
		}
		ids := []int64{push(`{"x":"` + secret + `"}`), push(secret), push(""), push(`12345`)}
		good := perform(t, q, jobA.With(secret))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		eventually(t, "all have run", func() bool {
			return count(t, b, backend.Scheduled) == int64(len(ids)) && state(t, b, good) == backend.Done
		})
		mustStop(t, stop)
		for _, id := range ids {
			i := info(t, b, id)
			if i.Failures != 1 || len(i.Errors) != 1 {
				t.Fatalf("job %d has %d failures, want a failed attempt that is retried", id, i.Failures)
			}
			text := i.Errors[0].Error
			if !strings.Contains(text, fmt.Sprintf("job a #%d", id)) || strings.Contains(text, secret) || strings.Contains(text, "12345") {
				t.Errorf("error is %q: want the job and its ID, and none of the payload", text)
			}
		}
		// The original logged the data of jobs.
		if text := log.String(); strings.Contains(text, secret) || strings.Contains(text, "12345") || !strings.Contains(text, "id="+fmt.Sprint(good)) {
			t.Errorf("the log is %s", text)
		}
	})
}

// A lockedBuffer is a log that goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A payload of another shape says at which field it does not fit.
func TestDecodeErrorNamesTheField(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	plainjobs.Handle(q, jobOrder, func(context.Context, order) error { return nil })
	pushed, err := b.Push(t.Context(), []backend.NewJob{{Name: "order", Payload: []byte(`{"Item":{"Count":"many"}}`), MaxAttempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	id := pushed[0].ID
	stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{jobOrder}})
	eventually(t, "it has failed", func() bool { return state(t, b, id) == backend.Failed })
	mustStop(t, stop)
	want := fmt.Sprintf("payload of job order #%d does not decode at field Item.Count: a JSON string is not a int", id)
	if got := info(t, b, id).Errors[0].Error; got != want {
		t.Errorf("the error is %q, want %q", got, want)
	}
}

type order struct{ Item struct{ Count int } }

var jobOrder = plainjobs.Declare[order]("order")

func TestUnknownNamesAreLeftAlone(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		pushed, err := b.Push(t.Context(), []backend.NewJob{{Name: "unknown-name", MaxAttempts: 1, Priority: 9}})
		if err != nil {
			t.Fatal(err)
		}
		excluded := perform(t, q, jobB.With(""))[0]
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		known := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs})
		eventually(t, "the known job is done", func() bool { return state(t, b, known) == backend.Done })
		mustStop(t, stop)
		for _, id := range []int64{pushed[0].ID, excluded} {
			if i := info(t, b, id); i.State != backend.Pending || i.Failures != 0 {
				t.Errorf("job %s is %+v", i.Name, i)
			}
		}
	})
}

func TestAliases(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	ran := make(chan string, 1)
	jobs := bind(q, jobRenamed, func(_ context.Context, s string) error { ran <- s; return nil })
	if _, err := b.Push(t.Context(), []backend.NewJob{{Name: "old/name", Payload: []byte(`"x"`), MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	stop := start(t, q, worker.Options{Jobs: jobs})
	if s := <-ran; s != "x" {
		t.Errorf("ran with %q", s)
	}
	mustStop(t, stop)
}

var jobRenamed = plainjobs.Declare[string]("new/name", plainjobs.Aliases("old/name", "older"))

func TestRunRefuses(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	bound := bind(q, jobB, func(context.Context, string) error { return nil })
	for want, opts := range map[string]worker.Options{
		"Concurrency is -1":           {Concurrency: -1, Jobs: bound},
		"Concurrency is 100001":       {Concurrency: 100_001, Jobs: bound},
		"Lease is 1ns":                {Lease: 1, Jobs: bound},
		"Lease is -1s":                {Lease: -time.Second, Jobs: bound},
		"Lease is 2h0m0s":             {Lease: 2 * time.Hour, Jobs: bound},
		"Poll is -1ns":                {Poll: -1, Jobs: bound},
		"Grace is 48h0m0s":            {Grace: 48 * time.Hour, Jobs: bound},
		"Jobs[0] is nil":              {Jobs: []plainjobs.AnyJob{nil}},
		"Jobs[1] is nil":              {Jobs: []plainjobs.AnyJob{jobB, (*plainjobs.Job[int])(nil)}},
		"Jobs[2] is nil":              {Jobs: []plainjobs.AnyJob{jobB, jobB, (*plainjobs.ResultJob[int, int])(nil)}},
		"the program defines no jobs": {Jobs: []plainjobs.AnyJob{}},
		// An unbound job is named with the place of its declaration.
		"a (declared at ": {Jobs: []plainjobs.AnyJob{jobA}},
		"worker_test.go:": {},
	} {
		err := worker.New(q, &opts).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run with %+v returned %v, want %q", opts, err, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("New(nil) did not panic")
		}
	}()
	worker.New(nil, nil)
}

func TestStopLetsHandlersFinish(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started, gate := make(chan struct{}), make(chan struct{})
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			started <- struct{}{}
			<-gate
			return ctx.Err()
		})
		id := perform(t, q, jobA.With(""))[0]
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- worker.New(q, &worker.Options{Jobs: jobs, Concurrency: 1}).Run(ctx) }()
		<-started
		cancel()
		later := perform(t, q, jobA.With(""))[0] // no worker claims it any more
		close(gate)
		if err := <-stopped; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if s := state(t, b, id); s != backend.Done {
			t.Errorf("the running job is %v, want done", s)
		}
		if i := info(t, b, later); i.State != backend.Pending || i.Failures != 0 {
			t.Errorf("the later job is %+v", i)
		}
	})
}

func TestStopHandsBack(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started := make(chan struct{}, 100)
		causes := make(chan error, 100)
		jobs := bind(q, jobA, func(ctx context.Context, s string) error {
			if s == "fast" {
				return nil
			}
			started <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			if s == "completes" {
				return nil
			}
			return ctx.Err()
		})
		// Fast ones first, so that the worker prefetches behind the slow.
		var tasks []plainjobs.Task
		for range 500 {
			tasks = append(tasks, jobA.With("fast"))
		}
		perform(t, q, tasks...)
		ids := perform(t, q, jobA.With("interrupted"), jobA.With("completes"))
		rest := perform(t, q, jobA.With("unstarted"), jobA.With("unstarted"))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 2, Grace: -1})
		<-started
		<-started
		mustStop(t, stop)
		if cause := <-causes; !errors.Is(cause, plainjobs.ErrStopped) {
			t.Errorf("the cause is %v, want ErrStopped", cause)
		}
		if s := state(t, b, ids[1]); s != backend.Done {
			t.Errorf("the job whose handler returned nil is %v", s)
		}
		for _, id := range append(rest, ids[0]) {
			if i := info(t, b, id); i.State != backend.Pending || i.Failures != 0 || i.Suspect {
				t.Errorf("the released job is %+v", i)
			}
		}
		if n := count(t, b, backend.Running); n != 0 {
			t.Errorf("%d jobs are left running", n)
		}
	})
}

func TestHandlerIgnoresItsContext(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started, gate := make(chan struct{}), make(chan struct{})
		jobs := bind(q, jobA, func(context.Context, string) error {
			close(started)
			<-gate
			return nil
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Grace: time.Millisecond})
		<-started
		err := stop()
		if want := fmt.Sprintf("a #%d", id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run returned %v, want %q", err, want)
		}
		if s := state(t, b, id); s != backend.Running {
			t.Errorf("the job is %v: it runs, and no other worker may have it before the lease ends", s)
		}
		close(gate)
	})
}

func TestStoreClosedInUse(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started := make(chan struct{})
		var once sync.Once
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			once.Do(func() { close(started) })
			<-ctx.Done()
			return ctx.Err()
		})
		perform(t, q, jobA.With(""), jobA.With(""))
		done := make(chan error, 1)
		go func() {
			done <- worker.New(q, &worker.Options{Jobs: jobs, Lease: time.Second, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context())
		}()
		<-started
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, backend.ErrClosed) {
			t.Errorf("Run returned %v, want ErrClosed", err)
		}
	})
}

func TestContextAlreadyDone(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	jobs := bind(q, jobA, func(context.Context, string) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := worker.New(q, &worker.Options{Jobs: jobs}).Run(ctx); err != nil {
		t.Errorf("Run returned %v", err)
	}
}
