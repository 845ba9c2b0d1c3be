package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/dashboard"
	"github.com/plainjobs/plainjobs/internal/engine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	for _, v := range os.Environ() { // they would set flags
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PLAINJOBS_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Unsetenv("NO_COLOR")
	goleak.VerifyTestMain(m)
}

// A lasting store stays open when a command closes it.
type lasting struct{ *memory.Backend }

func (lasting) Close() error { return nil }

// A world is a program, its store and its terminal.
type world struct {
	*program
	store   lasting
	stdin   io.Reader
	tty     bool // all streams are terminals
	signals chan os.Signal

	mu       sync.Mutex
	at       time.Time
	notified chan struct{} // closed once a command handles signals
}

// noon is the time at which a world starts: the day before a night in which Berlin skips
// an hour.
var noon = time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{at: noon, stdin: strings.NewReader(""), signals: make(chan os.Signal), notified: make(chan struct{})}
	w.store = lasting{memory.New(&memory.Options{Clock: w.clock})}
	w.program = newProgram(App{Dashboard: dashboard.Handler, Open: func(context.Context) (*plainjobs.Queue, error) {
		return plainjobs.New(w.store, nil), nil
	}})
	w.now = w.clock
	w.terminal = func(any) bool { return w.tty }
	heard := sync.OnceFunc(func() { close(w.notified) })
	w.notify = func(c chan<- os.Signal, _ ...os.Signal) func() {
		heard()
		done := make(chan struct{})
		var listening sync.WaitGroup
		listening.Go(func() {
			for {
				select {
				case s := <-w.signals:
					c <- s
				case <-done:
					return
				}
			}
		})
		// A later signal is for another command.
		return sync.OnceFunc(func() { close(done); listening.Wait() })
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

// printed is the output of a command, and its exit status.
type printed struct {
	out, err string
	status   int
}

// A buffer can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (w *world) root(out, err io.Writer, args ...string) *cobra.Command {
	root := &cobra.Command{Use: "app"}
	root.AddCommand(w.commands()...)
	root.SetArgs(args)
	root.SetIn(w.stdin)
	root.SetOut(out)
	root.SetErr(err)
	return root
}

// run runs a command.
func (w *world) run(args ...string) printed {
	var out, err buffer
	status := Execute(w.root(&out, &err, args...))
	return printed{out.String(), err.String(), status}
}

// must runs a command and requires its exit status.
func (w *world) must(t *testing.T, status int, args ...string) printed {
	t.Helper()
	got := w.run(args...)
	if got.status != status {
		t.Fatalf("%q exited with %d, want %d\nstdout: %s\nstderr: %s", args, got.status, status, got.out, got.err)
	}
	return got
}

// golden compares the output of commands with a file in testdata.
func (w *world) golden(t *testing.T, file string, commands ...string) {
	t.Helper()
	var b strings.Builder
	for _, command := range commands {
		got := w.run(strings.Fields(command)...)
		fmt.Fprintf(&b, "$ app %s\n%s", command, got.out)
		if got.err != "" {
			fmt.Fprintf(&b, "-- stderr\n%s", got.err)
		}
		if got.status != 0 {
			fmt.Fprintf(&b, "-- status %d\n", got.status)
		}
	}
	path := filepath.Join("testdata", file+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, b.String(), want)
	}
}

// leaseOfFill is the lease of the worker that fill registers.
const leaseOfFill = time.Hour

// fill stores a job in each state, a worker, a pause and schedules.
func (w *world) fill(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	q := plainjobs.New(w.store, &plainjobs.Options{Metadata: func(context.Context) map[string]string {
		return map[string]string{"trace": "abc"}
	}})
	do := func(tasks ...plainjobs.Task) {
		t.Helper()
		_, err := q.PerformMany(ctx, tasks...)
		check(err)
	}
	self := backend.Worker{ID: 77, Host: "mill", PID: 4711, Lease: leaseOfFill, Jobs: []string{"import", "invoice", "welcome"}, Schedules: []string{"nightly", "often"}}
	claim := func(name string) backend.Job {
		t.Helper()
		jobs, err := w.store.Claim(ctx, backend.ClaimRequest{Worker: self, Register: true, Names: []string{name}, Limit: 1})
		check(err)
		if len(jobs) != 1 {
			t.Fatalf("claimed %d jobs named %s", len(jobs), name)
		}
		return jobs[0]
	}
	fail := func(name string, f backend.Failure) {
		t.Helper()
		f.Lease = claim(name).Lease
		_, err := w.store.Fail(ctx, []backend.Failure{f})
		check(err)
	}
	do(sumJob.With([]int{1, 2})) // 1: done
	_, err := w.store.Complete(ctx, []backend.Completion{{Lease: claim("sum").Lease, Result: []byte("3")}})
	check(err)
	w.pass(time.Minute)
	do(invoiceJob.With(letter{To: "a@example.com"})) // 2: failed
	fail("invoice", backend.Failure{Ending: backend.EndRetry, Error: "dial tcp 10.0.0.1:25: connection refused"})
	w.pass(time.Minute)
	fail("invoice", backend.Failure{Ending: backend.EndFailed, Error: "evil \x1b]0;owned\a \u009b2J \u202e\nsecond line", Stack: "main.go:12\n\tcall()"})
	do(invoiceJob.With(letter{To: "b@example.com"})) // 3: will be retried
	fail("invoice", backend.Failure{Ending: backend.EndRetry, Delay: 16 * time.Second, Error: "timeout"})
	do(importJob.With("one", plainjobs.Serial("k")), // 4: running
		importJob.With("two", plainjobs.Serial("k")), // 5: blocked
		welcomeJob.With(letter{To: "c@example.com"}), // 6: pending
	)
	_, err = w.store.Push(ctx, []backend.NewJob{{ // 7
		Name: "welcome", Payload: []byte(`{"to":"d@example.com"}`), MaxAttempts: 3, Delay: time.Hour, Expires: 48 * time.Hour,
		Unique: backend.Unique{Key: "d@example.com"},
	}})
	check(err)
	one := claim("import")
	check(w.store.StoreProgress(ctx, []backend.Progress{{Lease: one.Lease, Done: 30, Total: 120}}))
	do(invoiceJob.With(letter{To: "e@example.com"}, plainjobs.Priority(5))) // 8: cancelled
	_, err = q.Cancel(ctx, plainjobs.Filter{IDs: []int64{8}})
	check(err)
	check(q.Pause(ctx, "welcome"))
	_, err = w.store.Set(ctx, 0, []backend.Settings{{Name: "import", MaxRunning: 2, MaxCrashes: 3}, {Name: "invoice", Rate: 5, Per: time.Minute, MaxCrashes: -1}})
	check(err)
	all := engine.Schedules()
	nightly := all[slices.IndexFunc(all, func(s *engine.Schedule) bool { return s.Name == "nightly" })]
	check(w.store.Define(ctx, []backend.Schedule{
		{Name: "nightly", Definition: nightly.Definition(), Next: noon.Add(13 * time.Hour)},
		{Name: "often", Definition: "often|every 20m0s||1|0", Next: noon.Add(5 * time.Minute)},
		{Name: "weekly", Definition: "other|@weekly|America/New_York|1|0", Next: noon.Add(24 * time.Hour)},
	}))
	w.pass(3 * time.Minute)
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(2 * time.Millisecond); !cond(); <-tick.C {
		if ctx.Err() != nil {
			tick.Stop()
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

var errBroken = errors.New("the store is on fire")
