package dashboard

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// millionStores are the stores of BenchmarkMillion, in files or on a server.
var millionStores = []namedStore{
	{"modernc", func(b *testing.B) (millionStore, error) {
		return modernc.Open(filepath.Join(b.TempDir(), "jobs.db"), nil)
	}},
	{"postgres", func(b *testing.B) (millionStore, error) { return pgx.Open(pgcluster.Connect(b), nil) }},
}

type namedStore struct {
	name string
	open func(b *testing.B) (millionStore, error)
}

type millionStore interface {
	backend.Backend
	backend.Heartbeater
	io.Closer
}

// BenchmarkMillion measures every page on a queue of a million jobs while another
// process's worth of claims and completions goes on as fast as it can. It reports the
// median and the 95th percentile of a request. mattn and ncruces cannot be in one program.
//
//	go test ./dashboard -run '^$' -bench Million -benchtime 200x -timeout 1h
//	go test ./dashboard -run '^$' -bench Million/ncruces -benchtime 200x -tags ncruces
func BenchmarkMillion(b *testing.B) {
	for _, s := range millionStores {
		b.Run(s.name, func(b *testing.B) {
			store, err := s.open(b)
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			d := &drain{store: store}
			d.fill(b)
			h := Handler(plainjobs.New(store, nil), &Options{Authorize: everyone})
			for _, path := range []string{
				"/", "/?as=table", "/?span=week", "/jobs", "/jobs?state=failed", "/jobs?state=pending", "/jobs?name=job-7", "/jobs?name=absent",
				"/jobs?error=absent", "/jobs?payload=absent", "/jobs?before=500000", "/job?id=500000", "/schedules", "/workers", "/limits", "/actions",
				"/change?do=retry&state=failed", "/change?do=delete&error=refused", "/change?do=delete&payload=absent",
			} {
				b.Run(path, func(b *testing.B) { d.measure(b, h, path) })
			}
		})
	}
}

// measure requests a page while jobs run.
func (d *drain) measure(b *testing.B, h http.Handler, path string) {
	stop := d.start(b)
	defer stop()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		took = append(took, time.Since(start))
		if rec.Code != http.StatusOK {
			b.Fatalf("status %d: %s", rec.Code, rec.Body)
		}
		b.ReportMetric(float64(rec.Body.Len()), "bytes")
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
}

// A drain runs jobs as fast as the store can.
type drain struct {
	store millionStore
	names []string
	claim backend.ClaimRequest
	beats time.Time // when the next heartbeat is due
}

// fill stores a million jobs with ten names: 94 % done, 1 % failed, 5 % pending.
func (d *drain) fill(b *testing.B) {
	for i := range 10 {
		d.names = append(d.names, fmt.Sprint("job-", i))
	}
	d.claim = backend.ClaimRequest{Worker: backend.Worker{ID: 1, Host: "mill", PID: 1, Lease: 24 * time.Hour, Jobs: d.names}, Register: true, Names: d.names, Limit: 1000}
	if d.full(b) { // a server has them from another run
		return
	}
	for range 100 {
		d.push(b, 10_000)
		for range 19 {
			d.run(b, 500, 50)
		}
		d.beat(b)
	}
	d.record(b)
}

// full reports whether the store has a million jobs.
func (d *drain) full(b *testing.B) bool {
	counts, err := d.store.(backend.Reader).Count(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	for _, c := range counts {
		n += c.Jobs
	}
	return n >= 1_000_000
}

// beat sends a heartbeat, as a worker does four times in its lease of 30 s.
func (d *drain) beat(b *testing.B) {
	if _, err := d.store.Heartbeat(context.Background(), backend.HeartbeatRequest{Worker: d.claim.Worker}); err != nil {
		b.Error(err)
	}
	d.beats = time.Now().Add(7500 * time.Millisecond)
}

// record stores two hours of activity of four workers.
func (d *drain) record(b *testing.B) {
	now := time.Now().Truncate(time.Minute)
	for w := range int64(4) {
		req := d.claim
		req.Worker.ID += w
		req.Limit = 0
		if _, err := d.store.Claim(context.Background(), req); err != nil {
			b.Fatal(err)
		}
		for _, name := range d.names {
			beat := backend.HeartbeatRequest{Worker: req.Worker}
			for i := range 120 {
				spread := durations(time.Millisecond, 3*time.Millisecond, 9*time.Millisecond, time.Duration(i)*time.Second)
				at := now.Add(-time.Duration(i) * time.Minute)
				beat.Activity = append(beat.Activity, backend.Activity{Name: name, At: at, Done: 3, Failed: 1, Waited: spread, Ran: spread})
			}
			if _, err := d.store.Heartbeat(context.Background(), beat); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func (d *drain) push(b *testing.B, n int) {
	jobs := make([]backend.NewJob, n)
	for i := range jobs {
		jobs[i] = backend.NewJob{Name: d.names[i%10], Payload: []byte(`{"to":"ada@example.com"}`), MaxAttempts: 1}
	}
	if _, err := d.store.Push(context.Background(), jobs); err != nil {
		b.Error(err)
	}
}

// run claims n jobs and completes them. Each job whose ID is a multiple of fails fails.
func (d *drain) run(b *testing.B, n int, fails int64) {
	ctx := context.Background()
	req := d.claim
	req.Limit = n
	claimed, err := d.store.Claim(ctx, req)
	if err != nil {
		b.Error(err)
	}
	var done []backend.Completion
	var failed []backend.Failure
	for _, j := range claimed {
		if j.ID%fails == 0 {
			failed = append(failed, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed, Error: "dial tcp: connection refused"})
		} else {
			done = append(done, backend.Completion{Lease: j.Lease})
		}
	}
	if _, err = d.store.Complete(ctx, done); err == nil {
		_, err = d.store.Fail(ctx, failed)
	}
	if err != nil {
		b.Error(err)
	}
}

// start pushes and runs jobs until stop is called.
func (d *drain) start(b *testing.B) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			d.push(b, 128)
			d.run(b, 128, 100)
			if time.Now().After(d.beats) {
				d.beat(b)
			}
		}
	})
	return func() { cancel(); running.Wait() }
}
