package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	deployedJob = plainjobs.Declare[string]("override/deployed", plainjobs.RateLimit(100, time.Hour))
	slowedJob   = plainjobs.Declare[string]("override/slowed")
)

// build runs a worker whose program defines other settings for the job than the others, and returns
// what stops it.
func build(t *testing.T, q *plainjobs.Queue, job *plainjobs.Job[string], change func(*engine.Definition)) (stop func() error) {
	t.Helper()
	d := engine.Lookup(job.Name())
	before := d.Settings
	change(d)
	w := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{job}, Logger: slog.New(slog.DiscardHandler)})
	err := w.Start(t.Context()) // stores what it defines
	d.Settings = before
	if err != nil {
		t.Fatal(err)
	}
	return func() error { return w.Stop(context.WithoutCancel(t.Context())) }
}

// A build that runs for a moment without the rate limit does not lift it: three other workers define
// it, before, meanwhile and afterwards.
func TestBuildForAMoment(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		var starts atomic.Int64
		bind(q, deployedJob, func(context.Context, string) error { starts.Add(1); return nil })
		var stops []func() error
		for range 3 {
			stops = append(stops, build(t, q, deployedJob, func(*engine.Definition) {}))
		}
		for _, rate := range []int{0, 1000} {
			stop := build(t, q, deployedJob, func(d *engine.Definition) {
				if d.Settings.Rate = rate; rate == 0 {
					d.Settings.Per = 0
				}
			})
			names, err := q.Names(t.Context())
			if err != nil || len(names) != 1 || names[0].Rate != 100 || !names[0].Differ {
				t.Errorf("with another build the settings are %+v, %v", names, err)
			}
			mustStop(t, stop)
		}
		tasks := make([]plainjobs.Task, 1000)
		for i := range tasks {
			tasks[i] = deployedJob.With("")
		}
		perform(t, q, tasks...)
		eventually(t, "100 jobs have started", func() bool { return starts.Load() >= 100 })
		names, err := q.Names(t.Context())
		if err != nil || names[0].Rate != 100 || names[0].Differ || names[0].Free.IsZero() {
			t.Errorf("afterwards the name is %+v, %v", names, err)
		}
		for _, stop := range stops {
			mustStop(t, stop)
		}
		if n := starts.Load(); n != 100 {
			t.Errorf("%d jobs have started in an hour, want 100", n)
		}
	})
}

// The last worker to leave leaves its settings: a deploy that stops all workers lifts no limit.
func TestSettingsWithoutWorkers(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		bind(q, deployedJob, func(context.Context, string) error { return nil })
		mustStop(t, build(t, q, deployedJob, func(*engine.Definition) {}))
		if names, err := q.Names(t.Context()); err != nil || len(names) != 1 || names[0].Rate != 100 {
			t.Errorf("without workers the settings are %+v, %v", names, err)
		}
	})
}

// A worker that is declared dead goes on under another identity, and defines its settings again.
func TestDefinesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		bind(q, deployedJob, func(context.Context, string) error { return nil })
		stop := build(t, q, deployedJob, func(*engine.Definition) {})
		workers, _ := b.Workers(t.Context())
		if _, err := b.Reap(t.Context(), backend.ReapRequest{Dead: []int64{workers[0].ID}}); err != nil {
			t.Fatal(err)
		}
		other := build(t, q, deployedJob, func(d *engine.Definition) { d.Settings = backend.Settings{} })
		rate := func(want int) {
			t.Helper()
			if names, err := q.Names(t.Context()); err != nil || len(names) > 0 && names[0].Rate != want || len(names) == 0 && want != 0 {
				t.Errorf("the settings are %+v, %v, want the rate %d", names, err, want)
			}
		}
		rate(0)
		time.Sleep(time.Minute)
		rate(100)
		mustStop(t, other)
		mustStop(t, stop)
	})
}

// A worker logs that other settings apply than it defines, with both.
func TestLogsOtherSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		bind(q, deployedJob, func(context.Context, string) error { return nil })
		stop := build(t, q, deployedJob, func(*engine.Definition) {})
		d := engine.Lookup(deployedJob.Name())
		before := d.Settings
		defer func() { d.Settings = before }()
		d.Settings.Rate = 500
		var log lockedBuffer
		other := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{deployedJob}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		synctest.Wait()
		for _, want := range []string{"job=override/deployed", `defined="rate 500 in 1h0m0s"`, `apply="rate 100 in 1h0m0s"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log is %s, want %s in it", log.String(), want)
			}
		}
		mustStop(t, other)
		mustStop(t, stop)
	})
}

// An override of the concurrency reaches a running worker with its next heartbeat, and a new worker
// at its start. If fewer are allowed than run, the others go on, and none starts until fewer run.
func TestOverrideConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		var mu sync.Mutex
		release := map[string]chan struct{}{}
		var running atomic.Int64
		jobs := bind(q, slowedJob, func(_ context.Context, s string) error {
			running.Add(1)
			defer running.Add(-1)
			mu.Lock()
			c := release[s]
			mu.Unlock()
			<-c
			return nil
		})
		var tasks []plainjobs.Task
		for i := range 12 {
			release[fmt.Sprint(i)] = make(chan struct{})
			tasks = append(tasks, slowedJob.With(fmt.Sprint(i)))
		}
		perform(t, q, tasks...)
		opts := worker.Options{Jobs: jobs, Concurrency: 4}
		stop := start(t, q, opts)
		want := func(when string, n int64) {
			t.Helper()
			synctest.Wait()
			if got := running.Load(); got != n {
				t.Errorf("%s %d jobs run, want %d", when, got, n)
			}
		}
		override := func(n int, reset bool) {
			t.Helper()
			if err := b.Override(t.Context(), backend.Override{Settings: backend.Settings{Name: slowedJob.Name()}, Concurrency: n}, reset); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second) // a heartbeat
		}
		want("without an override", 4)
		override(2, false)
		want("with an override below what runs", 4)
		end := 0
		finish := func(n int) {
			for range n {
				close(release[fmt.Sprint(end)])
				end++
			}
			time.Sleep(time.Second)
		}
		finish(2)
		want("with as many as the override allows", 2)
		finish(1)
		want("after the end of one more", 2)
		override(3, false)
		want("with one more allowed", 3)
		override(0, true)
		want("after the reset", 4)
		override(1, false)
		finish(4)
		want("with one allowed", 1)
		second := start(t, q, opts)
		want("with a new worker", 2)
		override(0, true)
		want("after the last reset", 5)
		finish(12 - end)
		mustStop(t, second)
		mustStop(t, stop)
	})
}

// An override by another process applies to the claims of a worker at once: a poll later its effect
// shows.
func TestOverrideOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	q := plainjobs.New(openSQLite(t, path, nil), nil)
	other := plainjobs.New(openSQLite(t, path, nil), nil)
	var starts atomic.Int64
	jobs := bind(q, deployedJob, func(context.Context, string) error { starts.Add(1); return nil })
	stop := start(t, q, worker.Options{Jobs: jobs})
	tasks := make([]plainjobs.Task, 200)
	for i := range tasks {
		tasks[i] = deployedJob.With("")
	}
	perform(t, q, tasks...)
	eventually(t, "100 jobs have started", func() bool { return starts.Load() == 100 })
	if err := other.Override(t.Context(), deployedJob.Name(), "ann", plainjobs.RateLimit(150, time.Hour)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "50 more jobs have started", func() bool { return starts.Load() == 150 })
	mustStop(t, stop)
	if n := starts.Load(); n != 150 {
		t.Errorf("%d jobs have started, want 150", n)
	}
}
