package plainjobstest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var (
	// counts are the runs of counted, by its data.
	counts [2]atomic.Int64

	counted = plainjobs.Define("inline/counted", func(_ context.Context, i int) error { counts[i].Add(1); return nil })
	noted   = plainjobs.Declare[string]("inline/noted")
	few     = plainjobs.Declare[string]("inline/few", plainjobs.MaxPending(2))
	outer   = plainjobs.Declare[string]("inline/outer")
	ownKey  = plainjobs.Declare[int]("inline/own-key", plainjobs.UniqueBy(func(int) string { return "me" }))
)

// notes binds a job to a list of what it ran for.
func notes(q *plainjobs.Queue, job *plainjobs.Job[string]) *[]string {
	var ran []string
	plainjobs.Handle(q, job, func(_ context.Context, s string) error { ran = append(ran, s); return nil })
	return &ran
}

// The queue of tests that have none is everybody's: a key that one test leaves
// there must not keep the next one's job from running.
func TestNoKeysWithoutAQueue(t *testing.T) {
	for i := range counts {
		before := counts[i].Load()
		key := plainjobs.Unique("everybody's", plainjobs.For(time.Hour), plainjobs.Reject())
		for range 2 {
			if _, err := plainjobs.Perform(t.Context(), counted.With(i, key, plainjobs.In(time.Hour))); err != nil {
				t.Errorf("Perform for later = %v", err)
			}
			if _, err := plainjobs.Perform(t.Context(), counted.With(i, key)); err != nil {
				t.Errorf("Perform = %v", err)
			}
		}
		if n := counts[i].Load() - before; n != 2 {
			t.Errorf("ran %d times, want 2", n)
		}
	}
}

// A job that performs itself while it runs has its own key, here as in a store.
func TestInlineOwnKey(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	runs := 0
	plainjobs.Handle(q, ownKey, func(ctx context.Context, n int) error {
		runs++
		info, _ := plainjobs.FromContext(ctx)
		if id, err := plainjobs.Perform(ctx, ownKey.With(n+1)); id != info.ID || !errors.Is(err, plainjobs.ErrDuplicate) {
			t.Errorf("Perform of a job by itself = %d, %v, want its own %d and ErrDuplicate", id, err, info.ID)
		}
		return nil
	})
	first, err := q.Perform(ctx, ownKey.With(1))
	if err != nil || runs != 1 {
		t.Fatalf("ran %d times: %v", runs, err)
	}
	// When it has ended, its key is free.
	if id, err := q.Perform(ctx, ownKey.With(1)); id == first || err != nil || runs != 2 {
		t.Errorf("Perform = %d, %v after %d runs, want another job", id, err, runs)
	}
}

func TestInlineKeyIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Inline(t)
		ran := notes(q, noted)
		task := noted.With("a", plainjobs.Unique("k", plainjobs.For(time.Hour)))
		first, err := q.Perform(ctx, task)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := q.Perform(ctx, task); id != first || err != nil {
			t.Errorf("Perform within the hour = %d, %v, want %d", id, err, first)
		}
		rejected := noted.With("a", plainjobs.Unique("k", plainjobs.Reject()))
		if id, err := q.Perform(ctx, rejected); id != first || !errors.Is(err, plainjobs.ErrDuplicate) {
			t.Errorf("Perform that rejects = %d, %v, want %d and ErrDuplicate", id, err, first)
		}
		time.Sleep(time.Hour)
		if id, err := q.Perform(ctx, task); id == first || err != nil || len(*ran) != 2 {
			t.Errorf("Perform after it = %d, %v, and it ran for %q", id, err, *ran)
		}
	})
}

// All tasks are there and run, or none is and does.
func TestInlineAllOrNone(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	ran := notes(q, noted)
	later := func(data string, opts ...plainjobs.UniqueOption) plainjobs.Task {
		return noted.With(data, plainjobs.In(time.Hour), plainjobs.Unique(data[:1], opts...))
	}
	if _, err := q.PerformMany(ctx, later("a"), later("b1")); err != nil {
		t.Fatal(err)
	}
	ids, err := q.PerformMany(ctx, noted.With("c"), later("b2", plainjobs.Replace()), noted.With("a", plainjobs.Unique("a", plainjobs.Reject())))
	if !errors.Is(err, plainjobs.ErrDuplicate) || len(ids) != 0 || len(*ran) != 0 {
		t.Errorf("PerformMany = %v, %v, and it ran for %q", ids, err, *ran)
	}
	plainjobstest.RefuteEnqueued(t, q, noted, "c")
	plainjobstest.RefuteEnqueued(t, q, noted, "b2")
	plainjobstest.RequireEnqueued(t, q, noted, "b1")
	if n, _, err := q.Count(ctx, plainjobs.Filter{}, true); n != 2 || err != nil {
		t.Errorf("Count = %d, %v, want the two from before", n, err)
	}
}

func TestInlineMaxPending(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	ran := notes(q, few)
	later := few.With("later", plainjobs.In(time.Hour))
	if _, err := q.PerformMany(ctx, later, later, later); !errors.Is(err, plainjobs.ErrQueueFull) {
		t.Errorf("PerformMany = %v, want ErrQueueFull", err)
	}
	for _, want := range []error{nil, nil, plainjobs.ErrQueueFull} {
		if _, err := q.Perform(ctx, later); !errors.Is(err, want) {
			t.Errorf("Perform = %v, want %v", err, want)
		}
	}
	// What runs at once does not wait.
	if _, err := q.Perform(ctx, few.With("now")); err != nil || !slices.Equal(*ran, []string{"now"}) {
		t.Errorf("Perform = %v, and it ran for %q", err, *ran)
	}
}

func TestInlineExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Inline(t)
		ran := notes(q, noted)
		deadline := time.Now().Add(time.Hour)
		ids, err := q.PerformMany(ctx, noted.With("late", plainjobs.In(time.Minute), plainjobs.Before(deadline)),
			noted.With("in time", plainjobs.In(time.Minute), plainjobs.Before(deadline.Add(2*time.Hour))))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := q.Get(ctx, ids[0]); err != nil || !info.ExpiresAt.Equal(deadline) {
			t.Errorf("it expires at %v, %v, want %v", info.ExpiresAt, err, deadline)
		}
		time.Sleep(2 * time.Hour)
		plainjobstest.Drain(t, q)
		if !slices.Equal(*ran, []string{"in time"}) {
			t.Errorf("ran for %q", *ran)
		}
		if info, err := q.Get(ctx, ids[0]); err != nil || info.State != plainjobs.Cancelled || len(info.Errors) != 1 || !strings.Contains(info.Errors[0].Error, "expired") {
			t.Errorf("the one that was late is %v with %v, %v", info.State, info.Errors, err)
		}
	})
}

// Looking at what was performed tells jobs apart as a store does.
func TestInlineFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Inline(t)
		plainjobs.Handle(q, noted, func(_ context.Context, s string) error {
			if s == "fails" {
				return errors.New("boom at 42")
			}
			return nil
		})
		notes(q, few)
		begin := time.Now()
		var ids []int64
		perform := func(task plainjobs.Task) {
			id, err := q.Perform(ctx, task)
			if id == 0 && err != nil {
				jobs, _, listErr := q.List(ctx, plainjobs.Filter{}, 0, 1)
				if listErr != nil || len(jobs) != 1 {
					t.Fatal(err, listErr)
				}
				id = jobs[0].ID
			}
			ids = append(ids, id)
			time.Sleep(time.Hour)
		}
		perform(noted.With("a", plainjobs.Unique("u")))
		perform(noted.With("fails"))
		perform(few.With("b", plainjobs.Serial("s")))
		perform(few.With("c", plainjobs.In(24*time.Hour)))
		for what, c := range map[string]struct {
			filter plainjobs.Filter
			want   []int64
		}{
			"nothing":         {plainjobs.Filter{}, []int64{ids[3], ids[2], ids[1], ids[0]}},
			"IDs":             {plainjobs.Filter{IDs: []int64{ids[0], 99}}, ids[:1]},
			"no IDs":          {plainjobs.Filter{IDs: []int64{}}, nil},
			"name":            {plainjobs.Filter{Names: []string{few.Name()}}, []int64{ids[3], ids[2]}},
			"state":           {plainjobs.Filter{States: []plainjobs.State{plainjobs.Scheduled}}, ids[3:]},
			"unique key":      {plainjobs.Filter{Key: "u"}, ids[:1]},
			"serial key":      {plainjobs.Filter{Key: "s"}, ids[2:3]},
			"no such key":     {plainjobs.Filter{Key: "x"}, nil},
			"error":           {plainjobs.Filter{Error: "at 42"}, ids[1:2]},
			"no such error":   {plainjobs.Filter{Error: "at 43"}, nil},
			"since":           {plainjobs.Filter{Since: begin.Add(2 * time.Hour)}, []int64{ids[3], ids[2]}},
			"until":           {plainjobs.Filter{Until: begin.Add(time.Hour)}, ids[:1]},
			"since ... until": {plainjobs.Filter{Since: begin.Add(time.Hour), Until: begin.Add(2 * time.Hour)}, ids[1:2]},
			"all of it":       {plainjobs.Filter{Names: []string{noted.Name()}, States: []plainjobs.State{plainjobs.Done}, Key: "u"}, ids[:1]},
			"not all of it":   {plainjobs.Filter{Names: []string{few.Name()}, States: []plainjobs.State{plainjobs.Done}, Key: "u"}, nil},
		} {
			jobs, next, err := q.List(ctx, c.filter, 0, 0)
			var got []int64
			for _, j := range jobs {
				got = append(got, j.ID)
			}
			if err != nil || next != 0 || !slices.Equal(got, c.want) {
				t.Errorf("List by %s = %v, %d, %v, want %v", what, got, next, err, c.want)
			}
			if n, more, err := q.Count(ctx, c.filter, true); err != nil || more || int(n) != len(c.want) {
				t.Errorf("Count by %s = %d, %v, %v, want %d", what, n, more, err, len(c.want))
			}
		}
	})
}

type requestKey struct{}

// A handler sees its own run, as under a worker, and not who performed the job;
// and what it asks for is nothing that the other asked for.
func TestInlineIsApart(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	plainjobs.Handle(q, noted, func(ctx context.Context, s string) error {
		if ctx.Value(requestKey{}) != nil || ctx.Err() != nil {
			t.Errorf("the handler sees the value %v of who performed the job, and the end %v", ctx.Value(requestKey{}), ctx.Err())
		}
		if s == "cancels" {
			return plainjobs.Cancel(errors.New("unknown"))
		}
		return nil
	})
	plainjobs.Handle(q, outer, func(ctx context.Context, s string) error {
		_, err := plainjobs.Perform(ctx, noted.With(s))
		return err
	})
	ended, cancel := context.WithCancel(context.WithValue(ctx, requestKey{}, "of the request"))
	cancel()
	if _, err := q.Perform(ended, noted.With("")); err != nil {
		t.Errorf("Perform = %v", err)
	}
	if _, err := q.Perform(ctx, outer.With("cancels")); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("Perform = %v, want what the inner job ended with", err)
	}
	if info := plainjobstest.RequireEnqueued(t, q, outer, "cancels"); info.State != plainjobs.Failed {
		t.Errorf("the job that performed one that cancels is %v, want failed", info.State)
	}
	if info := plainjobstest.RequireEnqueued(t, q, noted, "cancels"); info.State != plainjobs.Cancelled {
		t.Errorf("the job that cancels is %v", info.State)
	}
}
