package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// An event shows its job as it is then, in the state that the store says.
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
