package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/plainjobstest"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	modest  = plainjobs.Declare[string]("configure/modest")
	strict  = plainjobs.Declare[string]("configure/strict", plainjobs.MaxAttempts(2), plainjobs.Priority(0), plainjobs.Backoff(plainjobs.Fixed(time.Hour)))
	measure = plainjobs.DeclareResult[string, int]("configure/measure")
)

// A queue's defaults are those of jobs that do not say otherwise; Configure goes before the
// definition, and a task's own option before all.
func TestDefaultsAndConfigure(t *testing.T) {
	q := plainjobs.New(memory.New(nil), &plainjobs.Options{Defaults: []plainjobs.DefineOption{
		plainjobs.MaxAttempts(5), plainjobs.Priority(9), plainjobs.MaxPending(3),
	}})
	other := plainjobs.New(memory.New(nil), nil)
	check := func(q *plainjobs.Queue, task plainjobs.Task, attempts int, priority int16) {
		t.Helper()
		id, err := q.Perform(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := q.Get(t.Context(), id); err != nil || info.MaxAttempts != attempts || info.Priority != priority {
			t.Errorf("%s has %d attempts and priority %d (%v), want %d and %d", info.Name, info.MaxAttempts, info.Priority, err, attempts, priority)
		}
	}
	check(q, modest.With(""), 5, 9)
	check(q, strict.With(""), 2, 0)
	check(q, modest.With("", plainjobs.MaxAttempts(plainjobs.DefaultMaxAttempts), plainjobs.Priority(0)), 25, 0)
	if err := q.Configure(strict, plainjobs.MaxAttempts(3), plainjobs.Priority(1)); err != nil {
		t.Fatal(err)
	}
	if err := q.Configure(strict, plainjobs.MaxAttempts(4)); err != nil {
		t.Fatal(err)
	}
	check(q, strict.With(""), 4, 1)
	check(q, strict.With("", plainjobs.Priority(7)), 4, 7)
	check(other, modest.With(""), 25, 0)
	check(other, strict.With(""), 2, 0)
	check(q, modest.With(""), 5, 9)
	if _, err := q.Perform(t.Context(), modest.With("")); !errors.Is(err, plainjobs.ErrQueueFull) {
		t.Errorf("with the default MaxPending(3) the fourth task returned %v", err)
	}
}

// What a configuration may have wrong is an error, and then nothing changes.
func TestConfigureErrors(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	for want, err := range map[string]error{
		"configure job configure/modest: Concurrency(0) is not positive": q.Configure(modest, plainjobs.MaxAttempts(9), plainjobs.Concurrency(0)),
		"RateLimit(1, 0s)":                   q.Configure(modest, plainjobs.RateLimit(1, 0)),
		"options of Define and Declare only": q.Configure(modest, plainjobs.UniqueByData()),
		"UniqueBy takes a string":            q.Configure(modest, plainjobs.UniqueBy(func(s string) string { return s })),
		"an option is nil":                   q.Configure(modest, nil),
		"configure a nil job":                q.Configure(nil, plainjobs.MaxAttempts(1)),
		`schedule "s": `:                     q.Schedule("s", "not cron", modest.With("")),
		`every 1ns is not within`:            q.Schedule("s", "@every 1ns", modest.With("")),
		`expression "@every x"`:              q.Schedule("s", "@every x", modest.With("")),
		"schedule name":                      q.Schedule("a b", "@daily", modest.With("")),
		"unknown time zone":                  q.Schedule("s", "@daily", modest.With(""), plainjobs.Zone("Mars/Olympus")),
		"make tasks with Job.With":           q.Schedule("s", "@daily", plainjobs.Task{}),
		"is defined at":                      q.Schedule("Nightly:sweep", "@daily", modest.With("")),
		"At and Before do not apply":         q.Schedule("s", "@daily", modest.With("", plainjobs.At(time.Now()))),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
	id, err := q.Perform(t.Context(), modest.With(""))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := q.Get(t.Context(), id); err != nil || info.MaxAttempts != plainjobs.DefaultMaxAttempts {
		t.Errorf("after a Configure that failed the job has %d attempts, %v", info.MaxAttempts, err)
	}
	if message := panics(func() {
		plainjobs.New(memory.New(nil), &plainjobs.Options{Defaults: []plainjobs.DefineOption{plainjobs.Timeout(-1)}})
	}); !strings.Contains(message, "configure_test.go") || !strings.Contains(message, "New with Options.Defaults: Timeout(-1ns)") {
		t.Errorf("panicked with %s", message)
	}
}

// A worker runs jobs with the options that the queue has for them.
func TestWorkerWithDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		var mu sync.Mutex
		var failed []string
		q := plainjobs.New(store, &plainjobs.Options{Defaults: []plainjobs.DefineOption{
			plainjobs.Timeout(time.Second), plainjobs.Backoff(plainjobs.Fixed(time.Minute)), plainjobs.MaxAttempts(3), plainjobs.MaxRunning(2),
			plainjobs.Keep(plainjobs.History{Done: -1}),
			plainjobs.OnError(func(_ context.Context, job *plainjobs.Info, _ error) {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, job.Name)
			}),
		}})
		running, most := 0, 0
		plainjobs.Handle(q, modest, func(ctx context.Context, _ string) error {
			running++
			most = max(most, running)
			<-ctx.Done()
			running--
			return context.Cause(ctx)
		})
		if err := q.Configure(modest, plainjobs.Concurrency(1)); err != nil {
			t.Fatal(err)
		}
		plainjobs.Handle(q, strict, func(context.Context, string) error { return io.EOF })
		plainjobs.HandleResult(q, measure, func(context.Context, string) (int, error) { return 42, nil })
		w := worker.New(q, &worker.Options{
			Jobs: []plainjobs.AnyJob{modest, strict, measure}, Concurrency: 8, Logger: slog.New(slog.DiscardHandler),
		})
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ids, err := q.PerformMany(t.Context(), modest.With(""), modest.With(""), strict.With(""), measure.With(""))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		for i, want := range []plainjobs.State{plainjobs.Failed, plainjobs.Failed, plainjobs.Scheduled, plainjobs.Done} {
			if info, err := q.Get(t.Context(), ids[i]); err != nil || info.State != want {
				t.Errorf("job %d is %v (%v), want %v", i, info.State, err, want)
			}
		}
		if n, err := measure.Await(t.Context(), q, ids[3]); err != nil || n != 42 {
			t.Errorf("the result is %d, %v", n, err)
		}
		if most != 1 || strings.Count(fmt.Sprint(failed), modest.Name()) != 6 {
			t.Errorf("%d runs at once, and failures of %v", most, failed)
		}
		names, err := q.Names(t.Context())
		if err != nil || len(names) == 0 || names[0].MaxRunning != 2 {
			t.Errorf("the settings are %+v, %v", names, err)
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A schedule of a queue, with a declared job, data and an interval, runs on that queue
// only, and with RunAtStart also when a worker starts.
func TestQueueSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		q := plainjobs.New(store, &plainjobs.Options{Defaults: []plainjobs.DefineOption{plainjobs.MaxAttempts(4)}})
		ran := make(chan string, 10)
		got := func() (all []string) {
			for len(ran) > 0 {
				all = append(all, <-ran)
			}
			return all
		}
		plainjobs.Handle(q, modest, func(ctx context.Context, s string) error {
			info, _ := plainjobs.FromContext(ctx)
			ran <- fmt.Sprint(s, info.MaxAttempts)
			return nil
		})
		for name, opts := range map[string][]plainjobs.ScheduleOption{"poll": nil, "warm": {plainjobs.RunAtStart()}} {
			if err := q.Schedule(name, "@every 1h", modest.With(name), opts...); err != nil {
				t.Fatal(err)
			}
		}
		w := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{modest}, Concurrency: 1, Logger: slog.New(slog.DiscardHandler)})
		for range 2 {
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if all := got(); fmt.Sprint(all) != "[warm4]" {
				t.Errorf("at the start %v have run", all)
			}
			time.Sleep(61 * time.Minute)
			synctest.Wait()
			if all := got(); len(all) != 2 {
				t.Errorf("after an hour %v have run", all)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		infos, err := q.Schedules(t.Context())
		if err != nil || len(infos) != 2 || infos[0].Expression != "every 1h0m0s" || infos[0].Differs || infos[0].Job != modest.Name() {
			t.Errorf("the schedules are %+v, %v", infos, err)
		}
		if id, err := q.RunSchedule(t.Context(), "poll"); err != nil || id == 0 {
			t.Errorf("RunSchedule returned %d, %v", id, err)
		}
		if _, err := plainjobs.New(memory.New(nil), nil).RunSchedule(t.Context(), "poll"); !errors.Is(err, plainjobs.ErrNotFound) {
			t.Errorf("another queue has the schedule: %v", err)
		}
	})
}

// Queues of tests have the defaults, too.
func TestDefaultsInTests(t *testing.T) {
	ctx, q := plainjobstest.Inline(t, plainjobstest.Queue(plainjobs.Options{Defaults: []plainjobs.DefineOption{plainjobs.Timeout(time.Hour)}}))
	plainjobs.Handle(q, modest, func(ctx context.Context, _ string) error {
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("no deadline")
		}
		return nil
	})
	if _, err := plainjobs.Perform(ctx, modest.With("")); err != nil {
		t.Error(err)
	}
	if err := q.Schedule("in-tests", "@every 1m", modest.With("x")); err != nil {
		t.Fatal(err)
	}
	plainjobstest.Tick(t, q, "in-tests", time.Now())
}

// Limits and schedules that an operator sets are read when the program starts.
func ExampleQueue_Configure() {
	queue := plainjobs.New(memory.New(nil), &plainjobs.Options{
		Defaults: []plainjobs.DefineOption{plainjobs.MaxAttempts(10), plainjobs.Timeout(5 * time.Minute)},
	})
	parallel := 4
	if s := os.Getenv("GOODBYE_PARALLEL"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			log.Fatal(err)
		}
		parallel = n
	}
	if err := queue.Configure(Goodbye, plainjobs.Concurrency(parallel)); err != nil {
		log.Fatal(err)
	}
	err := queue.Schedule("goodbye", "@every 10s ago", Goodbye.With(User{Email: "team@example.com"}), plainjobs.RunAtStart())
	fmt.Println(err)
	// Output: plainjobs: schedule "goodbye": expression "@every 10s ago": time: unknown unit "s ago" in duration "10s ago"
}
