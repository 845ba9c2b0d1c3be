package worker_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
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
