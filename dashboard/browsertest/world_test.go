package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/dashboard"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pgcluster.Stop()
	os.Exit(code)
}

// A store is everything that a store of this module can do.
type store interface {
	backend.Backend
	backend.Heartbeater
	backend.Operator
	backend.Reader
	backend.Scheduler
	backend.SettingsStore
}

// schemas is how many stores are in the server, each in its schema.
var schemas atomic.Int64

// stores opens a new store of each kind.
var stores = map[string]func(t *testing.T) store{
	"sqlite": func(t *testing.T) store {
		s := &lateStore{}
		s.behind.Store(int64(fillTakes))
		var err error
		s.Backend, err = modernc.Open(filepath.Join(t.TempDir(), "jobs.db"), &sqlite.Options{Clock: s.now})
		check(t, err)
		return s
	},
	"postgres": func(t *testing.T) store {
		b, err := pgx.Open(pgcluster.Connect(t), &postgres.Options{Schema: fmt.Sprintf("browser_%d", schemas.Add(1))})
		if err != nil {
			t.Fatal(err)
		}
		return b
	},
}

// fillTakes is how long fill takes by the clock of a lateStore, so that the pages show
// plausible times.
const fillTakes = 5 * time.Minute

// A lateStore has a clock that is behind until fill has ended.
type lateStore struct {
	*sqlite.Backend
	behind atomic.Int64
}

func (s *lateStore) now() time.Time { return time.Now().Add(-time.Duration(s.behind.Load())) }

// pass lets time pass for a lateStore: a part of fillTakes, or what is left of it.
func (w *world) pass(part time.Duration) {
	s := w.store
	switch wrapped := s.(type) {
	case *heldStore:
		s = wrapped.store
	case *lostStore:
		s = wrapped.store
	}
	if s, ok := s.(*lateStore); ok {
		s.behind.Store(max(0, s.behind.Load()-int64(part)))
	}
}

// A world is a dashboard under a prefix, with a job in every state.
type world struct {
	store store
	queue *plainjobs.Queue
	url   string
	claim func(name string, n int) []backend.Job
}

func newWorld(t *testing.T, s store) *world {
	t.Helper()
	w := &world{store: s, queue: plainjobs.New(s, nil)}
	mux := http.NewServeMux()
	mux.Handle("/admin/jobs/", dashboard.Handler(w.queue, &dashboard.Options{
		Authorize: func(*http.Request, dashboard.Action, string) dashboard.Role { return dashboard.Full },
	}))
	mux.HandleFunc("/admin/frame", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte(`<!doctype html><title>frame</title><iframe src="jobs/"></iframe>`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close(); w.queue.Close() })
	w.url = server.URL + "/admin/jobs/"
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	mailError  = "send to ada@example.com: dial tcp 203.0.113.25:587: connect: connection refused"
	mailStack  = "example.com/shop/mail.(*SMTP).Send(0xc00012)\n\t/src/mail/smtp.go:%d\nexample.com/shop/jobs.init.func1(0xc0004)\n\t/src/jobs/receipt.go:21"
	otherError = "send to ada@example.com: 421 4.7.0 try again later"
)

// fill stores jobs in every state, workers, schedules, pauses and limits.
func (w *world) fill(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	worker := backend.Worker{
		ID: 77, Host: "shop-1", PID: 4711, Version: "v1.8.2", Lease: time.Hour,
		Jobs: []string{"email.receipt", "image.resize", "import.catalog", "report.daily"}, Schedules: []string{"report.daily", "cache.warm"},
	}
	w.claim = func(name string, n int) []backend.Job {
		t.Helper()
		jobs, err := w.store.Claim(ctx, backend.ClaimRequest{Worker: worker, Register: true, Names: []string{name}, Limit: n})
		check(t, err)
		if len(jobs) != n {
			t.Fatalf("claimed %d jobs named %s", len(jobs), name)
		}
		return jobs
	}
	push := func(n int, j backend.NewJob) {
		t.Helper()
		jobs := make([]backend.NewJob, n)
		for i := range jobs {
			jobs[i] = j
			jobs[i].MaxAttempts = 5
			if j.Payload == nil {
				jobs[i].Payload = fmt.Appendf(nil, `{"order":%d,"to":"ada@example.com","lines":[{"sku":"A-1","n":2},{"sku":"B-7","n":1}]}`, 1000+i)
			}
		}
		_, err := w.store.Push(ctx, jobs)
		check(t, err)
	}
	fail := func(j backend.Job, f backend.Failure) {
		t.Helper()
		f.Lease, f.Worker = j.Lease, "shop-1, pid 4711"
		_, err := w.store.Fail(ctx, []backend.Failure{f})
		check(t, err)
	}
	push(206, backend.NewJob{Name: "email.receipt"})
	var done []backend.Completion
	for _, j := range w.claim("email.receipt", 200) {
		done = append(done, backend.Completion{Lease: j.Lease, Took: 150 * time.Millisecond})
	}
	_, err := w.store.Complete(ctx, done)
	check(t, err)
	for i := range 3 {
		w.pass(time.Duration(13+31*i) * time.Second)
		for _, j := range w.claim("email.receipt", 6) {
			ending := backend.EndRetry
			text := mailError
			if i == 2 {
				ending, text = backend.EndFailed, otherError
			}
			fail(j, backend.Failure{Ending: ending, Delay: 0, Error: text, Stack: fmt.Sprintf(mailStack, 40+i), Took: time.Duration(2100-700*i) * time.Millisecond})
		}
	}
	push(34, backend.NewJob{Name: "email.receipt"})
	fail(w.claim("email.receipt", 1)[0], backend.Failure{Ending: backend.EndRetry, Delay: 9 * time.Minute, Error: otherError})
	push(4, backend.NewJob{Name: "import.catalog", Serial: "supplier-9", Payload: []byte(`{"url":"https://example.com/catalog.csv"}`)})
	w.pass(20 * time.Second)
	one := w.claim("import.catalog", 1)
	check(t, w.store.StoreProgress(ctx, []backend.Progress{{Lease: one[0].Lease, Done: 3120, Total: 12480}}))
	push(60, backend.NewJob{Name: "image.resize", Payload: []byte(`{"file":"cat.jpg","width":640}`)})
	w.pass(100 * time.Second)
	running := w.claim("image.resize", 4)
	var started []backend.Started
	for i, j := range append(running, one...) {
		started = append(started, backend.Started{Lease: j.Lease, For: time.Duration(i*7+2) * time.Second})
	}
	w.pass(fillTakes)
	_, err = w.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: worker, Started: started, Stuck: []backend.Stuck{
		{ID: one[0].ID, Name: "import.catalog", Stack: "goroutine 41 [IO wait]:\ninternal/poll.(*pollDesc).wait(…)\n\t/usr/local/go/src/internal/poll/fd_poll_runtime.go:84\nexample.com/shop/jobs.fetch(…)\n\t/src/jobs/catalog.go:57"},
	}})
	check(t, err)
	w.record(t, worker)
	push(2, backend.NewJob{Name: "report.daily", Delay: 3 * time.Hour})
	push(3, backend.NewJob{Name: "newsletter", Payload: []byte(`"spring"`)})
	push(1, backend.NewJob{Name: "report.daily", Unique: backend.Unique{Key: "2026-03-28"}})
	push(1, backend.NewJob{Name: "newsletter", Payload: []byte(`"</script><script>document.title='owned'</script>\u202e"`)})
	_, err = w.store.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{Names: []string{"newsletter"}}, Limit: 1})
	check(t, err)
	check(t, w.store.Pause(ctx, "newsletter", true))
	_, err = w.store.Set(ctx, 0, []backend.Settings{
		{Name: "image.resize", MaxRunning: 4}, {Name: "email.receipt", Rate: 100, Per: time.Minute}, {Name: "import.catalog", MaxRunning: 2, MaxCrashes: 3},
	})
	check(t, err)
	now := time.Now()
	check(t, w.store.Define(ctx, []backend.Schedule{
		{Name: "report.daily", Definition: "report.daily|30 3 * * MON-FRI|Europe/Berlin|1|0", Next: now.Add(3 * time.Hour)},
		{Name: "cache.warm", Definition: "image.resize|every 20m0s||1|0", Next: now.Add(5 * time.Minute)},
		{Name: "invoice.monthly", Definition: "report.daily|0 6 1 * *|America/New_York|1|0", Next: now.Add(5 * time.Minute)},
	}))
	check(t, w.store.PauseSchedule(ctx, "invoice.monthly", true))
}

// fillSteps stores a job that has done two steps and waits for a signal, and returns its
// page.
func (w *world) fillSteps(t *testing.T) (page string) {
	t.Helper()
	steps, ok := w.store.(backend.StepStore)
	if !ok {
		t.Fatal("the store has no steps")
	}
	_, err := w.store.Push(t.Context(), []backend.NewJob{{Name: "order.ship", Payload: []byte(`{"order":1207}`), Metadata: []byte(`{"tenant":"acme"}`), MaxAttempts: 5}})
	check(t, err)
	j := w.claim("order.ship", 1)[0]
	check(t, steps.StoreStep(t.Context(), nil, j.Lease, backend.Step{Name: "charge the card", Result: []byte(`"ch_1207"`)}))
	_, err = w.store.Fail(t.Context(), []backend.Failure{{
		Lease: j.Lease, Ending: backend.EndSleep, Delay: time.Hour, Step: backend.Step{Name: "ask the warehouse", Result: []byte("null")},
		Signal: backend.SignalKey{Name: "packed", Key: "1207"},
	}})
	check(t, err)
	return fmt.Sprintf("job?id=%d", j.ID)
}
