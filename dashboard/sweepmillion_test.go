package dashboard

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// BenchmarkSweep retries a million failed jobs from the page while a worker pushes, claims
// and completes others as fast as it can. It reports how long claims take before and
// meanwhile, and fails if a job is lost.
//
//	go test ./dashboard -run '^$' -bench Sweep -benchtime 1x -timeout 1h
func BenchmarkSweep(b *testing.B) {
	for _, s := range millionStores {
		b.Run(s.name, func(b *testing.B) {
			store, err := s.open(b)
			if err != nil {
				b.Fatal(err)
			}
			w := newWorld(b, store, nil)
			defer w.queue.Close()
			failing(b, store, 1_000_000, "old")
			l := &live{store: store}
			for b.Loop() {
				l.report(b, "before", l.measure(b, func() bool { return time.Since(l.began) > 10*time.Second }))
				page := w.begin(b, "do=retry&state=failed&name=old", "")
				began := time.Now()
				took := l.measure(b, func() bool {
					actions, err := w.queue.Actions(b.Context(), 0, 1)
					return err != nil || actions[0].End != ""
				})
				l.report(b, "meanwhile", took)
				b.ReportMetric(time.Since(began).Seconds(), "s")
				contains(b, w.eventually(b, page, "1,000,000 of 1,000,000"), ">done<")
				n, _, err := w.queue.Count(b.Context(), plainjobs.Filter{Names: []string{"old"}, States: []plainjobs.State{plainjobs.Pending}}, true)
				if counts := w.counts(b); err != nil || n != 1_000_000 || strings.Contains(counts, "failed") {
					b.Fatalf("after the retry: %s", counts)
				}
			}
		})
	}
}

// A live is a worker that runs jobs as fast as it can, and measures its claims.
type live struct {
	store backend.Backend
	began time.Time
}

// measure runs jobs until a condition is met, which is looked at twice a second.
func (l *live) measure(b *testing.B, until func() bool) (took []time.Duration) {
	ctx := context.Background()
	l.began = time.Now()
	self := backend.Worker{ID: 7, Host: "mill", PID: 7, Lease: time.Hour, Jobs: []string{"live"}}
	for looked := time.Now(); ; {
		jobs := make([]backend.NewJob, 64)
		for i := range jobs {
			jobs[i] = backend.NewJob{Name: "live", Payload: []byte(`{"to":"ada@example.com"}`), MaxAttempts: 1}
		}
		if _, err := l.store.Push(ctx, jobs); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		claimed, err := l.store.Claim(ctx, backend.ClaimRequest{Worker: self, Register: true, Names: []string{"live"}, Limit: 64})
		took = append(took, time.Since(start))
		var done []backend.Completion
		for _, j := range claimed {
			done = append(done, backend.Completion{Lease: j.Lease})
		}
		if err == nil {
			_, err = l.store.Complete(ctx, done)
		}
		if err != nil || len(claimed) != len(jobs) {
			b.Fatal(len(claimed), err)
		}
		if time.Since(looked) > 500*time.Millisecond {
			if looked = time.Now(); until() {
				return took
			}
		}
	}
}

func (l *live) report(b *testing.B, when string, took []time.Duration) {
	slices.Sort(took)
	for name, part := range map[string]int{"p50": 500, "p99": 990, "max": 1000} {
		at := took[min(len(took)*part/1000, len(took)-1)]
		b.ReportMetric(float64(at.Microseconds())/1000, when+"-claim-"+name+"-ms")
	}
	b.ReportMetric(float64(64*len(took))/time.Since(l.began).Seconds(), when+"-jobs/s")
}
