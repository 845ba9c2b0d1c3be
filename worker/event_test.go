package worker_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// An event has the state that the store has.
func TestEventStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(ctx context.Context, s string) error {
			switch s {
			case "fails":
				return plainjobs.RetryAfter(time.Hour, errors.New("no"))
			case "again":
				if i, _ := plainjobs.FromContext(ctx); i.Attempt == 1 {
					return plainjobs.RetryAfter(0, errors.New("no"))
				}
			case "cancels":
				return plainjobs.Cancel(nil)
			case "snoozes":
				return plainjobs.Snooze(time.Hour)
			case "waits":
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		var mu sync.Mutex
		events := map[int64][]string{}
		infos := map[int64]plainjobs.Info{} // the latest
		defer q.Subscribe(func(e plainjobs.Event) {
			mu.Lock()
			defer mu.Unlock()
			events[e.Job.ID] = append(events[e.Job.ID], fmt.Sprintf("%v %v", e.Kind, e.Job.State))
			infos[e.Job.ID] = e.Job
		})()
		ids := perform(t, q, jobA.With("does"), jobA.With("fails"), jobA.With("fails", plainjobs.MaxAttempts(1)), jobA.With("again"),
			jobA.With("cancels"), jobA.With("snoozes"), jobA.With("waits", plainjobs.In(10*time.Second)), jobA.With("", plainjobs.In(24*time.Hour)))
		last := func(id int64) plainjobs.Info {
			mu.Lock()
			defer mu.Unlock()
			return infos[id]
		}
		for _, id := range ids {
			stored, err := q.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if told := last(id); !told.CreatedAt.Equal(stored.CreatedAt) || !told.RunAt.Equal(stored.RunAt) {
				t.Errorf("pushed at %v for %v, and the store has %v and %v", told.CreatedAt, told.RunAt, stored.CreatedAt, stored.RunAt)
			}
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Grace: -1})
		time.Sleep(9 * time.Second) // but for the one in ten seconds
		synctest.Wait()
		for i, id := range ids[:6] {
			stored, err := q.Get(t.Context(), id)
			if told := last(id); err != nil || told.State != stored.State {
				t.Errorf("job %d is %v, %v, and was last told to be %v", i, stored.State, err, told.State)
			}
		}
		time.Sleep(10 * time.Second)
		mustStop(t, stop)
		for i, want := range [][]string{
			{"pushed pending", "started running", "done done"},
			{"pushed pending", "started running", "retried scheduled"},
			{"pushed pending", "started running", "failed failed"},
			{"pushed pending", "started running", "retried pending", "started running", "done done"},
			{"pushed pending", "started running", "cancelled cancelled"},
			{"pushed pending", "started running", "snoozed scheduled"},
			{"pushed scheduled", "started running", "released pending"},
			{"pushed scheduled"},
		} {
			if got := events[ids[i]]; !slices.Equal(got, want) {
				t.Errorf("job %d: events are %q, want %q", i, got, want)
			}
		}
	})
}

// An event has the same fields of its job as the store: what was pushed, how the run
// ended, and when.
func TestEventJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		var seen, ambient plainjobs.Info // by the last run's middleware, and by its handler
		var mu sync.Mutex
		q := plainjobs.New(b, &plainjobs.Options{Middleware: []plainjobs.Middleware{func(next plainjobs.Handler) plainjobs.Handler {
			return func(ctx context.Context, job *plainjobs.Info) error {
				mu.Lock()
				seen = *job
				mu.Unlock()
				return next(ctx, job)
			}
		}}})
		release := make(chan struct{})
		jobs := bind(q, jobA, func(ctx context.Context, s string) error {
			mu.Lock()
			ambient, _ = plainjobs.FromContext(ctx)
			mu.Unlock()
			time.Sleep(time.Second)
			switch s {
			case "retried", "failed":
				return plainjobs.RetryAfter(time.Hour, errors.New("no "+s))
			case "cancelled":
				return plainjobs.Cancel(errors.New("no"))
			case "snoozed":
				return plainjobs.Snooze(time.Hour)
			case "stuck", "lost":
				<-release
			case "released":
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		told := map[plainjobs.EventKind]plainjobs.Info{} // the latest
		defer q.Subscribe(func(e plainjobs.Event) {
			mu.Lock()
			defer mu.Unlock()
			told[e.Kind] = e.Job
		})()
		var stop func() error
		for _, kind := range []plainjobs.EventKind{
			plainjobs.EventDone, plainjobs.EventRetried, plainjobs.EventFailed, plainjobs.EventCancelled, plainjobs.EventSnoozed,
			plainjobs.EventStuck, plainjobs.EventLost, plainjobs.EventReleased,
		} {
			clear(told)
			what := kind.String()
			attempts := 3
			if kind == plainjobs.EventFailed {
				attempts = 1
			}
			id := perform(t, q, jobA.With(what, plainjobs.Unique("unique "+what), plainjobs.Serial("serial "+what), plainjobs.MaxAttempts(attempts),
				plainjobs.Priority(3), plainjobs.Before(time.Now().Add(time.Minute))))[0]
			pushed, err := q.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			got := told[plainjobs.EventPushed]
			mu.Unlock()
			if !reflect.DeepEqual(got, pushed) {
				t.Errorf("pushed as\n%+v\nand stored is\n%+v", got, pushed)
			}
			begin := time.Now().UTC()
			stop = start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Grace: -1})
			time.Sleep(2 * time.Second)
			synctest.Wait()
			switch kind {
			case plainjobs.EventStuck:
				if _, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{id}}); err != nil {
					t.Fatal(err)
				}
			case plainjobs.EventLost:
				workers, err := q.Workers(t.Context())
				if err != nil || len(workers) != 1 {
					t.Fatalf("Workers = %v, %v", workers, err)
				}
				if err := q.Pause(t.Context(), ""); err != nil { // it is not to run again
					t.Fatal(err)
				}
				if _, err := b.Reap(t.Context(), backend.ReapRequest{Dead: []int64{workers[0].ID}}); err != nil {
					t.Fatal(err)
				}
			case plainjobs.EventReleased:
				mustStop(t, stop)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			stored, err := q.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			running := pushed
			running.State, running.ExpiresAt, running.StartedAt = plainjobs.Running, time.Time{}, begin
			for who, got := range map[string]plainjobs.Info{"FromContext": ambient, "a started event": told[plainjobs.EventStarted]} {
				if !reflect.DeepEqual(got, running) {
					t.Errorf("%s: %s shows\n%+v\nwant\n%+v", what, who, got, running)
				}
			}
			if string(seen.Payload) != string(pushed.Payload) || seen.UniqueKey != pushed.UniqueKey || seen.SerialKey != pushed.SerialKey || seen.StartedAt != begin {
				t.Errorf("%s: a middleware sees %+v", what, seen)
			}
			want := stored
			switch kind {
			case plainjobs.EventStuck, plainjobs.EventLost:
				want = running
			case plainjobs.EventRetried:
				want.Attempt = 1 // of the run
			case plainjobs.EventDone:
				if want.FinishedAt != begin.Add(time.Second) {
					t.Errorf("done at %v, after a start at %v", want.FinishedAt, begin)
				}
			}
			got, ok := told[kind]
			mu.Unlock()
			if !ok {
				t.Errorf("no event says %s", what)
			}
			for i := range got.Errors {
				if got.Errors[i].Stack == "" && len(want.Errors) == 1 {
					got.Errors[i].Stack = want.Errors[i].Stack
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s shows\n%+v\nwant\n%+v", what, got, want)
			}
			switch kind {
			case plainjobs.EventStuck, plainjobs.EventLost:
				release <- struct{}{}
			}
			if kind != plainjobs.EventReleased {
				mustStop(t, stop)
			}
			if kind == plainjobs.EventLost {
				if _, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{id}}); err != nil {
					t.Fatal(err)
				}
				if err := q.Resume(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
