package plainjobs_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
	"github.com/plainjobs/plainjobs/worker"
)

// Why says what a callback waits for, and how the group has come so far.
func TestWhyOfCallbacks(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	bindGroup(q)
	g, err := q.Group(ctx, plainjobs.OnEnd(summary.With("end")), plainjobs.Label("letters"))
	if err != nil {
		t.Fatal(err)
	}
	callbacks, _, err := q.List(ctx, plainjobs.Filter{CallbackOf: g.ID()}, 0, 0)
	if err != nil || len(callbacks) != 1 || callbacks[0].State != plainjobs.Blocked {
		t.Fatalf("callbacks are %+v, %v", callbacks, err)
	}
	why := func(want string) {
		t.Helper()
		if got, err := q.Why(ctx, callbacks[0].ID); err != nil || got != want {
			t.Errorf("Why = %q, %v\nwant  %q", got, err, want)
		}
	}
	why("It is the OnEnd callback of group 1 (letters), which is not sealed: its 0 jobs have ended, and it ends when the program calls Seal.")
	var ids []int64
	for range 1200 {
		id, err := g.Perform(ctx, part.With("a"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if n, err := q.Delete(ctx, plainjobs.Filter{IDs: ids[:1]}); n != 1 || err != nil { // a member deleted by hand
		t.Fatal(n, err)
	}
	why("It is the OnEnd callback of group 1 (letters), which waits for 1,199 of 1,200 jobs, 1 cancelled, and for Seal.")
	if err := g.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	why("It is the OnEnd callback of group 1 (letters), which waits for 1,199 of 1,200 jobs, 1 cancelled.")
	if n, more, err := q.Count(ctx, plainjobs.Filter{Group: g.ID()}, true); n != 1199 || more || err != nil {
		t.Errorf("Count = %d, %v, %v", n, more, err)
	}
	plainjobstest.Drain(t, q)
	if info, err := q.Get(ctx, callbacks[0].ID); err != nil || info.State != plainjobs.Done {
		t.Errorf("the callback is %+v, %v", info, err)
	}
}

// Cancelling a group ends it: OnEnd runs, and OnDone is cancelled with the reason.
func TestCancelGroup(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	ran := bindGroup(q)
	g, err := q.Group(ctx, plainjobs.OnDone(summary.With("done")), plainjobs.OnEnd(summary.With("end")), plainjobs.OnFailure(alert.With("failure")))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := g.Group(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.PerformMany(ctx, part.With("a"), part.With("b")); err != nil {
		t.Fatal(err)
	}
	if _, err := inner.Perform(ctx, part.With("c")); err != nil {
		t.Fatal(err)
	}
	if n, err := g.Cancel(ctx); n != 3 || err != nil {
		t.Fatalf("Cancel = %d, %v", n, err)
	}
	plainjobstest.Drain(t, q)
	// The inner group has failed, as one of its members was cancelled.
	if got := strings.Join(*ran, " "); got != "failure end" && got != "end failure" {
		t.Errorf("ran %q", *ran)
	}
	info, err := g.Info(ctx)
	if err != nil || info.Cancelled != 2 || info.Failed != 1 || info.Open != 0 || info.EndedAt.IsZero() {
		t.Errorf("the group is %+v, %v", info, err)
	}
}

// Deleting a group leaves nothing of it, and runs none of its callbacks.
func TestDeleteGroup(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	ran := bindGroup(q)
	g, err := q.Group(ctx, plainjobs.OnEnd(summary.With("end")))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := g.Group(ctx, plainjobs.OnEnd(summary.With("inner end")))
	if err != nil {
		t.Fatal(err)
	}
	var deleted error
	plainjobs.Handle(q, part, func(ctx context.Context, name string) error {
		if name == "deletes" {
			g, _ := plainjobs.GroupOf(ctx)
			deleted = g.Delete(ctx)
		}
		return nil
	})
	if _, err := g.PerformMany(ctx, part.With("deletes"), part.With("b")); err != nil {
		t.Fatal(err)
	}
	if _, err := inner.Perform(ctx, part.With("c")); err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, q)
	if deleted == nil || !strings.Contains(deleted.Error(), "runs: cancel the group first") {
		t.Errorf("Delete with a running member = %v", deleted)
	}
	if err := g.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, q)
	if len(*ran) != 0 {
		t.Errorf("ran %q", *ran)
	}
	if counts, err := q.Counts(ctx); err != nil || len(counts) != 0 {
		t.Errorf("jobs are left: %v, %v", counts, err)
	}
	if groups, _, err := q.Groups(ctx, false, 0, 0); err != nil || len(groups) != 0 {
		t.Errorf("groups are left: %+v, %v", groups, err)
	}
	if _, err := g.Info(ctx); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("Info of a deleted group: %v", err)
	}
}

// Groups pages, newest first.
func TestGroups(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	for i := range 5 {
		g, err := q.Group(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := g.Seal(ctx); err != nil { // an empty group ends at once
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		unended      bool
		limit, pages int
		ids          string
	}{{false, 2, 3, "5 4 3 2 1 "}, {true, 1, 2, "4 2 "}, {false, 0, 1, "5 4 3 2 1 "}} {
		ids, pages := "", 0
		for before := int64(0); ; {
			groups, next, err := q.Groups(ctx, tt.unended, before, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				ids += string(rune('0'+g.ID)) + " "
			}
			if len(groups) > 0 {
				pages++
			}
			if before = next; next == 0 {
				break
			}
		}
		if ids != tt.ids || pages != tt.pages {
			t.Errorf("%+v: %q in %d pages", tt, ids, pages)
		}
	}
	if _, _, err := q.Groups(ctx, false, 0, 1001); err == nil {
		t.Error("a limit of 1001 is accepted")
	}
}

// startWorker starts a worker of some jobs, and returns a function that stops it.
func startWorker(t *testing.T, q *plainjobs.Queue, jobs ...plainjobs.AnyJob) (stop func()) {
	t.Helper()
	w := worker.New(q, &worker.Options{Jobs: jobs, Logger: slog.New(slog.DiscardHandler)})
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A worker runs a group with its callbacks. Events show which job is a callback.
func TestWorkerRunsGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Memory(t)
		var mu sync.Mutex
		var events []string
		defer q.Subscribe(func(e plainjobs.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Job.CallbackOf != 0 {
				events = append(events, e.Job.CallbackOn+" "+e.Kind.String()+" "+e.Job.State.String())
			} else if len(e.Job.Groups) > 0 {
				events = append(events, "member "+e.Kind.String())
			}
		})()
		ended := make(chan int64, 1)
		plainjobs.Handle(q, part, func(context.Context, string) error { return nil })
		plainjobs.Handle(q, summary, func(ctx context.Context, _ string) error {
			g, _ := plainjobs.GroupOf(ctx)
			info, err := g.Info(ctx)
			ended <- info.Done
			return err
		})
		g, err := q.Group(ctx, plainjobs.OnDone(summary.With("done")), plainjobs.Deadline(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Perform(ctx, part.With("a")); err != nil {
			t.Fatal(err)
		}
		stop := startWorker(t, q, part, summary)
		synctest.Wait()
		if err := g.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		if done := <-ended; done != 1 {
			t.Errorf("the callback saw %d members done", done)
		}
		stop()
		want := "OnDone pushed blocked, member pushed, member started, member done, OnDone started running, OnDone done done"
		if got := strings.Join(events, ", "); got != want {
			t.Errorf("events are %s\nwant       %s", got, want)
		}
	})
}

// A group that is never sealed ends at its deadline.
func TestGroupDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Memory(t)
		started, cause := make(chan struct{}), make(chan error, 1)
		plainjobs.Handle(q, part, func(ctx context.Context, _ string) error {
			close(started)
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		})
		ended := make(chan struct{})
		plainjobs.Handle(q, summary, func(context.Context, string) error { close(ended); return nil })
		stop := startWorker(t, q, part, summary)
		defer stop()
		g, err := q.Group(ctx, plainjobs.OnEnd(summary.With("end")), plainjobs.Deadline(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		running, err := g.Perform(ctx, part.With("runs"))
		if err != nil {
			t.Fatal(err)
		}
		<-started
		later, err := g.Perform(ctx, part.With("later", plainjobs.In(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		if err := <-cause; !errors.Is(err, plainjobs.ErrCancelled) {
			t.Errorf("the cause is %v", err)
		}
		<-ended
		for _, id := range []int64{running, later} {
			if info, err := q.Get(ctx, id); err != nil || info.State != plainjobs.Cancelled {
				t.Errorf("job #%d is %v, %v", id, info.State, err)
			}
		}
		if why, err := q.Why(ctx, later); err != nil || !strings.Contains(why, "the deadline has passed of group 1") {
			t.Errorf("Why = %q, %v", why, err)
		}
		if _, err := g.Perform(ctx, part.With("late")); !errors.Is(err, plainjobs.ErrGroupEnded) {
			t.Errorf("Perform after the deadline: %v", err)
		}
	})
}

// The job of a callback that no program knows waits, and Why says so before the group ends.
func TestCallbackOfUnknownJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Memory(t)
		bindGroup(q)
		stop := startWorker(t, q, part)
		defer stop()
		g, err := q.Group(ctx, plainjobs.OnDone(summary.With("done")))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		callbacks, _, err := q.List(ctx, plainjobs.Filter{CallbackOf: g.ID()}, 0, 0)
		if err != nil || len(callbacks) != 1 {
			t.Fatal(callbacks, err)
		}
		for range 2 {
			if why, err := q.Why(ctx, callbacks[0].ID); err != nil || !strings.Contains(why, "nows the name group/summary: deploy one that defines it.") && !strings.Contains(why, "does not know the name group/summary: deploy one that defines it.") {
				t.Errorf("Why = %q, %v", why, err)
			}
			if err := g.Seal(ctx); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if info, err := q.Get(ctx, callbacks[0].ID); err != nil || info.State != plainjobs.Pending {
			t.Errorf("the callback is %v, %v", info.State, err)
		}
	})
}
