package worker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

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
		"Concurrency is -1":            {Concurrency: -1, Jobs: bound},
		"Concurrency is 100001":        {Concurrency: 100_001, Jobs: bound},
		"Lease is 1ns":                 {Lease: 1, Jobs: bound},
		"Lease is -1s":                 {Lease: -time.Second, Jobs: bound},
		"Lease is 2h0m0s":              {Lease: 2 * time.Hour, Jobs: bound},
		"Poll is -1ns":                 {Poll: -1, Jobs: bound},
		"Grace is 48h0m0s":             {Grace: 48 * time.Hour, Jobs: bound},
		"Jobs[0] is nil":               {Jobs: []plainjobs.AnyJob{nil}},
		"Jobs[1] is nil":               {Jobs: []plainjobs.AnyJob{jobB, (*plainjobs.Job[int])(nil)}},
		"Jobs[2] is nil":               {Jobs: []plainjobs.AnyJob{jobB, jobB, (*plainjobs.ResultJob[int, int])(nil)}},
		"the program defines no jobs":  {Jobs: []plainjobs.AnyJob{}},
		"Except[0] is nil":             {Except: []plainjobs.AnyJob{nil}},
		"Options.Lanes[1] has no jobs": {Lanes: []worker.Lane{{Jobs: bound}, {}}},
		"Lanes[0].Jobs[0] is nil":      {Lanes: []worker.Lane{{Jobs: []plainjobs.AnyJob{nil}}}},
		"Lanes[0].Concurrency is -1":   {Lanes: []worker.Lane{{bound, -1}}},
		"Options.Lanes[1] has the job b, and so has Options.Lanes[0]": {Lanes: []worker.Lane{{Jobs: bound}, {Jobs: bound}}},
		"Options.Lanes[0] has the job b, and so has Options.Except":   {Except: bound, Lanes: []worker.Lane{{Jobs: bound}}},
		"the program defines no jobs that the worker may claim":       {Jobs: bound, Except: bound},
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
