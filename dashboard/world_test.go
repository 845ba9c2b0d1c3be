package dashboard

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pgcluster.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func everyone(*http.Request, Action, string) Role { return Full }

// newStore returns a store with jobs in every state: 1 done, 2 failed twice, 3 to be
// retried, 4 running, 5 blocked, 6 pending, 7 scheduled and 8 cancelled.
func newStore(t testing.TB) *memory.Backend {
	t.Helper()
	ctx := context.Background()
	store := memory.New(nil)
	t.Cleanup(func() { store.Close() })
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	push := func(j backend.NewJob) {
		t.Helper()
		if j.MaxAttempts == 0 {
			j.MaxAttempts = 3
		}
		_, err := store.Push(ctx, []backend.NewJob{j})
		check(err)
	}
	self := backend.Worker{ID: 77, Host: "mill", PID: 4711, Lease: time.Hour, Jobs: []string{"import", "invoice", "sum"}, Schedules: []string{"nightly"}}
	claim := func(name string) backend.Lease {
		t.Helper()
		jobs, err := store.Claim(ctx, backend.ClaimRequest{Worker: self, Register: true, Names: []string{name}, Limit: 1})
		check(err)
		if len(jobs) != 1 {
			t.Fatalf("claimed %d jobs named %s", len(jobs), name)
		}
		return jobs[0].Lease
	}
	fail := func(name string, f backend.Failure) {
		t.Helper()
		f.Lease, f.Worker = claim(name), "mill, pid 4711"
		_, err := store.Fail(ctx, []backend.Failure{f})
		check(err)
	}
	push(backend.NewJob{Name: "sum", Payload: []byte("[1,2]")})
	_, err := store.Complete(ctx, []backend.Completion{{Lease: claim("sum"), Result: []byte("3")}})
	check(err)
	push(backend.NewJob{Name: "invoice", Payload: []byte(`{"to":"ada@example.com"}`), Metadata: []byte(`{"trace":"abc"}`)})
	fail("invoice", backend.Failure{Ending: backend.EndRetry, Error: "dial tcp 10.0.0.1:25: connection refused", Stack: "main.go:12\nsend"})
	fail("invoice", backend.Failure{Ending: backend.EndFailed, Took: 2100 * time.Millisecond, Error: "dial tcp 10.0.0.1:25: timeout", Stack: "main.go:12\nsend"})
	push(backend.NewJob{Name: "invoice", Payload: []byte(`{"to":"b@example.com"}`)})
	fail("invoice", backend.Failure{Ending: backend.EndRetry, Delay: time.Hour, Error: "timeout"})
	push(backend.NewJob{Name: "import", Payload: []byte(`"one"`), Serial: "k"})
	push(backend.NewJob{Name: "import", Payload: []byte(`"two"`), Serial: "k"})
	push(backend.NewJob{Name: "welcome", Payload: []byte(`{"to":"c@example.com"}`)})
	push(backend.NewJob{Name: "welcome", Delay: time.Hour, Unique: backend.Unique{Key: "d@example.com"}})
	one := claim("import")
	check(store.StoreProgress(ctx, []backend.Progress{{Lease: one, Done: 30, Total: 120}}))
	push(backend.NewJob{Name: "invoice"})
	_, err = store.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{IDs: []int64{8}}})
	check(err)
	check(store.Pause(ctx, "welcome", true))
	_, err = store.Set(ctx, 0, []backend.Settings{{Name: "import", MaxRunning: 2, MaxCrashes: 3}, {Name: "invoice", Rate: 5, Per: time.Minute}})
	check(err)
	check(store.Define(ctx, []backend.Schedule{
		{Name: "nightly", Definition: "sum|30 3 * * MON-FRI|Europe/Berlin|1|0", Next: time.Now().Add(time.Hour)},
		{Name: "often", Definition: "sum|every 20m0s||1|0", Next: time.Now().Add(5 * time.Minute)},
	}))
	return store
}

// A world is a dashboard of a store.
type world struct {
	http.Handler
	queue *plainjobs.Queue
}

func newWorld(t testing.TB, store backend.Backend, opts *Options) *world {
	t.Helper()
	if opts == nil {
		opts = &Options{Authorize: everyone}
	}
	w := &world{queue: plainjobs.New(store, nil)}
	w.Handler = Handler(w.queue, opts)
	return w
}

// get requests a path and requires a status.
func (w *world) get(t testing.TB, status int, path string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	body := rec.Body.String()
	if rec.Code != status {
		t.Fatalf("GET %s: status %d, want %d: %s", path, rec.Code, status, body)
	}
	for _, name := range []string{"Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "Cache-Control"} {
		if rec.Header().Get(name) == "" {
			t.Errorf("GET %s: no %s", path, name)
		}
	}
	return body
}

// contains requires texts in a page.
func contains(t testing.TB, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

// lacks requires that a page has none of the texts.
func lacks(t testing.TB, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			t.Errorf("the page has %q:\n%s", text, page)
		}
	}
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
