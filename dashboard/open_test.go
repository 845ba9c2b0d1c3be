//go:build unix

package dashboard

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/worker"
)

var drained = plainjobs.Define("dashboard/drained", func(context.Context, int) error { return nil })

// openJobs is the number of jobs in a drain of BenchmarkOpen.
const openJobs = 512_000

// BenchmarkOpen compares drains with the overview open and closed, in pairs whose order
// alternates. It reports the ratio of their speeds with its 95 % interval, and the share
// of a core that the open overview takes. Its clients are in the same process and count.
//
//	go test ./dashboard -run '^$' -bench Open -benchtime 14x -timeout 1h
func BenchmarkOpen(b *testing.B) {
	for _, tabs := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d-tabs", tabs), func(b *testing.B) {
			var ratios, shares []float64
			for b.Loop() {
				var took, cpu [2]time.Duration
				for i := range 2 {
					open := (i + len(ratios)) % 2
					took[open], cpu[open] = drainOnce(b, open*tabs)
				}
				ratios = append(ratios, math.Log(float64(took[0])/float64(took[1])))
				shares = append(shares, (cpu[1]-cpu[0]).Seconds()/took[1].Seconds())
			}
			mean, half := interval(ratios)
			b.ReportMetric(math.Exp(mean), "speed")
			b.ReportMetric(math.Exp(mean-half), "speed-low")
			b.ReportMetric(math.Exp(mean+half), "speed-high")
			mean, half = interval(shares)
			b.ReportMetric(100*mean, "%core")
			b.ReportMetric(100*half, "±%core")
		})
	}
}

// drainOnce drains a new store while as many tabs show the overview, and returns how long
// that took and the processor time of the process.
func drainOnce(b *testing.B, tabs int) (took, cpu time.Duration) {
	store, err := modernc.Open(filepath.Join(b.TempDir(), "jobs.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	queue := plainjobs.New(store, &plainjobs.Options{Logger: slog.New(slog.DiscardHandler)})
	defer queue.Close()
	server := httptest.NewServer(Handler(queue, &Options{Authorize: everyone}))
	defer server.Close()
	defer server.CloseClientConnections()
	jobs := make([]backend.NewJob, 10_000)
	for i := range jobs {
		jobs[i] = backend.NewJob{Name: "dashboard/drained", Payload: []byte("1"), MaxAttempts: 1}
	}
	for left := openJobs; left > 0; left -= len(jobs) {
		if _, err := store.Push(b.Context(), jobs[:min(left, len(jobs))]); err != nil {
			b.Fatal(err)
		}
	}
	for range tabs {
		r, err := http.Get(server.URL + "/events?page=")
		if err != nil {
			b.Fatal(err)
		}
		defer r.Body.Close()
		go discard(r.Body)
	}
	begin, before := time.Now(), processorTime(b)
	opts := worker.Options{Jobs: []plainjobs.AnyJob{drained}, Drain: true, Concurrency: 2}
	if err := worker.New(queue, &opts).Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin), processorTime(b) - before
}

// BenchmarkUpdate measures the processor time of one update of the overview, with what each
// tab's stream encodes. There is at most one update a second, so a millisecond is a tenth of
// a percent of a core. Unlike BenchmarkOpen, it does not depend on what else runs.
//
//	go test ./dashboard -run '^$' -bench Update -benchtime 300x
func BenchmarkUpdate(b *testing.B) {
	store, err := modernc.Open(filepath.Join(b.TempDir(), "jobs.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	failing(b, store, 1000, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	d := drain{store: store, names: []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}}
	d.claim = backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: 24 * time.Hour, Jobs: d.names}, Register: true, Names: d.names, Limit: 1000}
	d.record(b)
	h := newHandler(plainjobs.New(store, nil), &Options{Authorize: everyone})
	for _, tabs := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d-tabs", tabs), func(b *testing.B) {
			before, n := processorTime(b), 0
			for b.Loop() {
				var streams []*stream
				for range tabs {
					streams = append(streams, &stream{r: httptest.NewRequest(http.MethodGet, "/events", nil), query: url.Values{"page": {""}}, updates: make(chan update, 1)})
				}
				h.renderLive(b.Context(), streams[0].query, streams)
				for _, s := range streams {
					n += len((<-s.updates).event)
				}
			}
			if n == 0 {
				b.Error("the updates are empty")
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
	b.Run("findings", func(b *testing.B) { // every 15 seconds
		before := processorTime(b)
		for b.Loop() {
			h.checkup.ended = make(chan struct{})
			h.checkup.examine()
		}
		b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	})
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// interval returns the mean of values and half the width of its 95 % interval.
func interval(values []float64) (mean, half float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		half += (v - mean) * (v - mean)
	}
	student := 2.0 + 2.5/math.Max(1, n-2) // close to Student's t for 7 pairs or more
	return mean, student * math.Sqrt(half/math.Max(1, n-1)/n)
}

// discard reads what the server sends until it closes the connection.
func discard(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
