package plainjobs_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

func TestOperations(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	plainjobs.Handle(q, lifeJob, func(_ context.Context, s string) error {
		if s == "bad" {
			return errors.New("boom at 42")
		}
		return nil
	})
	ids, err := q.PerformMany(ctx, lifeJob.With("good"), lifeJob.With("bad"), lifeJob.With("later", plainjobs.In(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	if errs := plainjobstest.Drain(t, q, plainjobstest.Retries(), plainjobstest.Failures()); len(errs) != 1 {
		t.Errorf("Drain = %v, want one error", errs)
	}
	bad, err := q.Get(ctx, ids[1])
	if err != nil || bad.State != plainjobs.Failed || bad.Attempt != 2 || len(bad.Errors) != 2 || bad.Errors[1].Error != "boom at 42" {
		t.Fatalf("the bad job is %+v, %v", bad, err)
	}
	list := func(f plainjobs.Filter) (ids []int64) {
		jobs, _, err := q.List(ctx, f, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			ids = append(ids, j.ID)
		}
		return ids
	}
	for what, c := range map[string]struct {
		filter plainjobs.Filter
		want   []int64
	}{
		"all":      {plainjobs.Filter{}, []int64{ids[2], ids[1], ids[0]}},
		"failed":   {plainjobs.Filter{States: []plainjobs.State{plainjobs.Failed}}, []int64{ids[1]}},
		"error":    {plainjobs.Filter{Error: "at 42"}, []int64{ids[1]}},
		"IDs":      {plainjobs.Filter{IDs: []int64{ids[0], 99}}, []int64{ids[0]}},
		"future":   {plainjobs.Filter{Since: time.Now().Add(time.Hour)}, nil},
		"name":     {plainjobs.Filter{Names: []string{"other"}}, nil},
		"combined": {plainjobs.Filter{Names: []string{"life/plain"}, States: []plainjobs.State{plainjobs.Done}}, []int64{ids[0]}},
	} {
		if got := list(c.filter); !slices.Equal(got, c.want) {
			t.Errorf("List of %s = %v, want %v", what, got, c.want)
		}
		if n, more, err := q.Count(ctx, c.filter, false); err != nil || more || int(n) != len(c.want) {
			t.Errorf("Count of %s = %d, %v, %v, want %d", what, n, more, err, len(c.want))
		}
	}
	for what, op := range map[string]func(context.Context, plainjobs.Filter) (int, error){
		"Delete": q.Delete, "Cancel": q.Cancel,
		"Retry": func(ctx context.Context, f plainjobs.Filter) (int, error) { return q.Retry(ctx, f) },
	} {
		if n, err := op(ctx, plainjobs.Filter{}); n != 0 || !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "Filter.All") {
			t.Errorf("%s of all jobs without All = %d, %v", what, n, err)
		}
	}
	if n, err := q.Retry(ctx, plainjobs.Filter{States: []plainjobs.State{plainjobs.Failed}}); n != 1 || err != nil {
		t.Errorf("Retry = %d, %v, want 1", n, err)
	}
	if info, _ := q.Get(ctx, ids[1]); info.State != plainjobs.Pending || info.Attempt != 1 || len(info.Errors) != 2 {
		t.Errorf("the retried job is %+v", info)
	}
	if n, err := q.Cancel(ctx, plainjobs.Filter{IDs: ids}); n != 2 || err != nil {
		t.Errorf("Cancel = %d, %v, want 2", n, err)
	}
	if n, err := q.Delete(ctx, plainjobs.Filter{All: true}); n != 3 || err != nil {
		t.Errorf("Delete = %d, %v, want 3", n, err)
	}
	if _, err := q.Get(ctx, ids[0]); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("Get of a deleted job = %v", err)
	}
}

// Jobs that are retried at a low priority run after new jobs.
func TestRetryAtPriority(t *testing.T) {
	q, _ := newQueue(t, nil)
	id, err := q.Perform(t.Context(), lifeJob.With("", plainjobs.Priority(3), plainjobs.In(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	filter := plainjobs.Filter{IDs: []int64{id}}
	for what, opts := range map[string][]plainjobs.TaskOption{
		"another option": {plainjobs.In(time.Hour)}, "one without effect": {plainjobs.In(0)}, "two": {plainjobs.Priority(1), plainjobs.MaxAttempts(1)},
		"a wrong one": {plainjobs.In(-1)},
	} {
		if n, err := q.Retry(t.Context(), filter, opts...); n != 0 || err == nil {
			t.Errorf("Retry with %s = %d, %v; want an error", what, n, err)
		}
	}
	if n, err := q.Retry(t.Context(), filter, plainjobs.Priority(-7)); n != 1 || err != nil {
		t.Fatalf("Retry = %d, %v; want 1", n, err)
	}
	if info, err := q.Get(t.Context(), id); err != nil || info.Priority != -7 || info.State != plainjobs.Pending {
		t.Errorf("the retried job is %+v, %v", info, err)
	}
}

// Retry applies to failed and cancelled jobs. Done jobs run again only if the filter selects
// them explicitly.
func TestRetryLeavesDoneJobs(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	fail := true
	plainjobs.Handle(q, lifeJob, func(_ context.Context, s string) error {
		switch {
		case s == "fails" && fail:
			return errors.New("no")
		case s == "cancels" && fail:
			return plainjobs.Cancel(nil)
		}
		return nil
	})
	ids, err := q.PerformMany(ctx, lifeJob.With(""), lifeJob.With("fails"), lifeJob.With("cancels"), lifeJob.With("", plainjobs.In(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	states := func() (all []plainjobs.State) {
		for _, id := range ids {
			info, err := q.Get(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, info.State)
		}
		return all
	}
	plainjobstest.Drain(t, q, plainjobstest.Retries(), plainjobstest.Failures())
	if got, want := states(), []plainjobs.State{plainjobs.Done, plainjobs.Failed, plainjobs.Cancelled, plainjobs.Scheduled}; !slices.Equal(got, want) {
		t.Fatalf("the jobs are %v, want %v", got, want)
	}
	if n, err := q.Retry(ctx, plainjobs.Filter{Names: []string{"life/plain"}}); n != 3 || err != nil {
		t.Errorf("Retry by name = %d, %v, want 3", n, err)
	}
	if got, want := states(), []plainjobs.State{plainjobs.Done, plainjobs.Pending, plainjobs.Pending, plainjobs.Pending}; !slices.Equal(got, want) {
		t.Errorf("the jobs are %v, want %v", got, want)
	}
	fail = false
	plainjobstest.Drain(t, q)
	for what, filter := range map[string]plainjobs.Filter{
		"IDs": {IDs: ids}, "state": {Names: []string{"life/plain"}, States: []plainjobs.State{plainjobs.Done}}, "all": {All: true},
	} {
		if n, err := q.Retry(ctx, filter); n != 4 || err != nil {
			t.Errorf("Retry by %s = %d, %v, want 4", what, n, err)
		}
		plainjobstest.Drain(t, q)
	}
}

// An empty list of IDs selects no job.
func TestNoIDs(t *testing.T) {
	memory, _ := newQueue(t, nil)
	_, inline := plainjobstest.Inline(t)
	ctx := t.Context()
	none := plainjobs.Filter{IDs: []int64{}}
	for what, q := range map[string]*plainjobs.Queue{"memory": memory, "inline": inline} {
		if _, err := q.Perform(ctx, lifeJob.With("", plainjobs.In(time.Hour))); err != nil {
			t.Fatal(err)
		}
		if jobs, next, err := q.List(ctx, none, 0, 0); len(jobs) != 0 || next != 0 || err != nil {
			t.Errorf("%s: List = %v, %d, %v", what, jobs, next, err)
		}
		if n, more, err := q.Count(ctx, none, true); n != 0 || more || err != nil {
			t.Errorf("%s: Count = %d, %v, %v", what, n, more, err)
		}
		if n, more, err := q.Count(ctx, plainjobs.Filter{States: []plainjobs.State{99}}, true); n != 0 || more || !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%s: Count of an unknown state = %d, %v, %v", what, n, more, err)
		}
	}
	for what, op := range map[string]func(context.Context, plainjobs.Filter) (int, error){
		"Cancel": memory.Cancel, "Delete": memory.Delete,
		"Retry": func(ctx context.Context, f plainjobs.Filter) (int, error) { return memory.Retry(ctx, f) },
	} {
		for _, filter := range []plainjobs.Filter{none, {IDs: []int64{}, Names: []string{"life/plain"}}, {IDs: []int64{}, All: true}} {
			if n, err := op(ctx, filter); n != 0 || err != nil {
				t.Errorf("%s of %+v = %d, %v", what, filter, n, err)
			}
		}
	}
}

func TestCountStops(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	jobs := make([]backend.NewJob, 10_500)
	for i := range jobs {
		jobs[i] = backend.NewJob{Name: "life/plain", MaxAttempts: 1, Serial: "k"}
	}
	if _, err := b.Push(ctx, jobs); err != nil {
		t.Fatal(err)
	}
	filter := plainjobs.Filter{Key: "k"}
	if n, more, err := q.Count(ctx, filter, false); n != 10_000 || !more || err != nil {
		t.Errorf("Count = %d, %v, %v, want 10000 and more", n, more, err)
	}
	if n, more, err := q.Count(ctx, filter, true); n != 10_500 || more || err != nil {
		t.Errorf("exact Count = %d, %v, %v, want 10500", n, more, err)
	}
	ids := make([]int64, 1200)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	if n, err := q.Delete(ctx, plainjobs.Filter{IDs: ids}); n != len(ids) || err != nil {
		t.Errorf("Delete of %d IDs = %d, %v", len(ids), n, err)
	}
}

// Operations by ID have the same effect as with any other filter, for any number and order of
// IDs: of several jobs with one unique key, the newest takes it.
func TestOperateOnManyIDs(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	unique := testJob.With(order{}, plainjobs.Unique("k"))
	oldest, err := q.Perform(ctx, unique)
	if err != nil {
		t.Fatal(err)
	}
	all := []int64{oldest}
	cancel := func(ids []int64, want int) {
		t.Helper()
		if n, err := q.Cancel(ctx, plainjobs.Filter{IDs: ids}); n != want || err != nil {
			t.Fatalf("Cancel = %d, %v, want %d", n, err, want)
		}
	}
	cancel(all, 1)
	many := slices.Repeat([]plainjobs.Task{testJob.With(order{})}, 2500)
	ids, err := q.PerformMany(ctx, append(many, unique)...)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, ids...)
	cancel(slices.Concat(all, all), 2501) // each is named twice
	given := slices.Clone(all)
	n, err := q.Retry(ctx, plainjobs.Filter{IDs: all})
	if n != 2501 || !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("Retry = %d, %v, want 2501 and ErrDuplicate", n, err)
	}
	if got := get(t, b, oldest).State; got != plainjobs.Cancelled {
		t.Errorf("the oldest is %v, and the newest has the key", got)
	}
	if !slices.Equal(all, given) {
		t.Error("the caller's list has changed")
	}
}
