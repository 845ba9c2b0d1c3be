package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var (
	lifeJob  = plainjobs.Declare[string]("life/plain", plainjobs.MaxAttempts(2))
	keyedJob = plainjobs.Declare[order]("life/keyed", plainjobs.UniqueBy(orderKey), plainjobs.SerialBy(orderKey))
	boundJob = plainjobs.Declare[string]("life/bound", plainjobs.MaxPending(2))
	// longKeyJob has a key that no store takes.
	longKeyJob    = plainjobs.Declare[string]("life/long-key", plainjobs.UniqueBy(func(string) string { return strings.Repeat("k", 256) }))
	renamedResult = plainjobs.DeclareResult[int, int]("life/result-new", plainjobs.Aliases("life/result-old"))
	resultJob     = plainjobs.DeclareResult[int, string]("life/result")
)

func orderKey(o order) string {
	if o.ID == 0 {
		return ""
	}
	return fmt.Sprint("order-", o.ID)
}

func TestBadTaskOptions(t *testing.T) {
	q, b := newQueue(t, nil)
	long := strings.Repeat("k", 256)
	for want, task := range map[string]plainjobs.Task{
		"255":                      lifeJob.With("", plainjobs.Unique(long)),
		"Unique: the key is empty": lifeJob.With("", plainjobs.Unique("")),
		"Serial: the key is empty": lifeJob.With("", plainjobs.Serial("")),
		"NUL":                      lifeJob.With("", plainjobs.Serial("a\x00")),
		"For(-1s)":                 lifeJob.With("", plainjobs.Unique("k", plainjobs.For(-time.Second))),
		"Replace and For":          lifeJob.With("", plainjobs.Unique("k", plainjobs.For(time.Second), plainjobs.Replace())),
		"Before(the zero time)":    lifeJob.With("", plainjobs.Before(time.Time{})),
		"is not within 100 years":  lifeJob.With("", plainjobs.At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))),
		"UTC) is not within 100":   lifeJob.With("", plainjobs.Before(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))),
		"has passed":               lifeJob.With("", plainjobs.Before(time.Now().Add(-time.Hour))),
		"In(-1ns)":                 lifeJob.With("", plainjobs.In(-1)),
		"Replace and Reject":       lifeJob.With("", plainjobs.Unique("k", plainjobs.Replace(), plainjobs.Reject())),
		"Reject exclude":           lifeJob.With("", plainjobs.Unique("k", plainjobs.Reject(), plainjobs.Replace())),
		"is before the task's own": lifeJob.With("", plainjobs.In(2*time.Hour), plainjobs.Before(time.Now().Add(time.Hour))),
		"the task's own time":      lifeJob.With("", plainjobs.At(time.Now().Add(2*time.Hour)), plainjobs.Before(time.Now().Add(time.Hour))),
	} {
		if _, err := q.Perform(t.Context(), task); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Perform = %v, want %q", err, want)
		}
	}
	if counts, err := b.Count(t.Context()); err != nil || len(counts) > 0 {
		t.Errorf("refused tasks are stored: %v, %v", counts, err)
	}
}

func TestBadDefinitions(t *testing.T) {
	fn := func(context.Context, string) error { return nil }
	tick := func(context.Context, time.Time) error { return nil }
	for want, define := range map[string]func(){
		"MaxPending(0)":    func() { plainjobs.Define("bad/1", fn, plainjobs.MaxPending(0)) },
		"Timeout(-1s)":     func() { plainjobs.Define("bad/2", fn, plainjobs.Timeout(-time.Second)) },
		"Concurrency(0)":   func() { plainjobs.Define("bad/3", fn, plainjobs.Concurrency(0)) },
		"MaxRunning(-1)":   func() { plainjobs.Define("bad/4", fn, plainjobs.MaxRunning(-1)) },
		"RateLimit(0, 1s)": func() { plainjobs.Define("bad/5", fn, plainjobs.RateLimit(0, time.Second)) },
		"RateLimit(1, 0s)": func() { plainjobs.Define("bad/6", fn, plainjobs.RateLimit(1, 0)) },
		"MaxCrashes(0)":    func() { plainjobs.Define("bad/12a", fn, plainjobs.MaxCrashes(0)) },
		"Use(nil)":         func() { plainjobs.Define("bad/7", fn, plainjobs.Use(nil)) },
		"UniqueBy takes a int, and the job's data are of type string": func() {
			plainjobs.Define("bad/8", fn, plainjobs.UniqueBy(func(int) string { return "" }))
		},
		"SerialBy(nil)":     func() { plainjobs.Define("bad/9", fn, plainjobs.SerialBy[string](nil)) },
		"100 years":         func() { plainjobs.Define("bad/10", fn, plainjobs.Keep(plainjobs.History{Done: 1<<63 - 1})) },
		"61":                func() { plainjobs.Cron("bad/11", "61 * * * *", tick) },
		"30 2":              func() { plainjobs.Cron("bad/12", "0 0 30 2 *", tick) },
		"every 0s":          func() { plainjobs.Every("bad/13", 0, tick) },
		"CatchUp(-1)":       func() { plainjobs.Cron("bad/14", "@daily", tick, plainjobs.CatchUp(-1)) },
		"follows no wall":   func() { plainjobs.Every("bad/15", time.Hour, tick, plainjobs.Zone("Europe/Berlin")) },
		"defined elsewhere": func() { plainjobs.Schedule("bad/16", "@daily", lifeJob.With(""), plainjobs.MaxAttempts(3)) },
		"nil handler":       func() { plainjobs.Cron("bad/17", "@daily", nil) },
		"At and Before":     func() { plainjobs.Schedule("bad/18", "@daily", lifeJob.With("", plainjobs.At(time.Now()))) },
		"life_test.go":      func() { plainjobs.Cron("bad/19", "@never", tick) },
		"366 days":          func() { plainjobs.Define("bad/20", fn, plainjobs.Timeout(367*24*time.Hour)) },
		"Timeout(2562047h":  func() { plainjobs.Define("bad/21", fn, plainjobs.Timeout(1<<63-1)) },
		"Await could return it": func() {
			plainjobs.DefineResult("bad/22", func(context.Context, string) (int, error) { return 0, nil }, plainjobs.Keep(plainjobs.History{Done: -1}))
		},
		"which Keep deletes": func() { plainjobs.DeclareResult[string, int]("bad/23", plainjobs.Keep(plainjobs.History{Done: -1})) },
		// What no store would take, a schedule would push in vain.
		"make tasks with":  func() { plainjobs.Schedule("bad/24", "@daily", plainjobs.Task{}) },
		"the key is empty": func() { plainjobs.Schedule("bad/25", "@daily", lifeJob.With("", plainjobs.Unique(""))) },
		"1048576":          func() { plainjobs.Schedule("bad/26", "@daily", lifeJob.With(strings.Repeat("x", 2<<20))) },
		"at most 255":      func() { plainjobs.Schedule("bad/27", "@daily", longKeyJob.With("")) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, want) || !strings.Contains(text, "life_test.go:") {
					t.Errorf("panic is %q, want %q with file and line", text, want)
				}
			}()
			define()
		}()
	}
}

func TestUniqueTasks(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	first, err := q.Perform(ctx, keyedJob.With(order{ID: 1}))
	if err != nil {
		t.Fatal(err)
	}
	again, err := q.Perform(ctx, keyedJob.With(order{ID: 1}))
	if err != nil || again != first {
		t.Errorf("Perform of a key that is taken = %d, %v, want %d", again, err, first)
	}
	if other, err := q.Perform(ctx, keyedJob.With(order{ID: 2})); err != nil || other == first {
		t.Errorf("Perform of another key = %d, %v", other, err)
	}
	rejected := lifeJob.With("", plainjobs.Unique("k", plainjobs.Reject()))
	id, err := q.Perform(ctx, rejected)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := q.Perform(ctx, rejected); got != id || !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("Perform that rejects = %d, %v, want %d and ErrDuplicate", got, err, id)
	}
	before, err := q.Counts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.PerformMany(ctx, lifeJob.With("a"), lifeJob.With("b"), rejected)
	var duplicate *backend.DuplicateError
	if !errors.As(err, &duplicate) || duplicate.Index != 2 || duplicate.ID != id {
		t.Errorf("PerformMany = %v, want a duplicate at index 2", err)
	}
	if after, err := q.Counts(ctx); err != nil || !slices.Equal(before, after) {
		t.Errorf("a refused PerformMany changed %v to %v, %v", before, after, err)
	}
	replace := func(data string) int64 {
		id, err := q.Perform(ctx, lifeJob.With(data, plainjobs.Unique("r", plainjobs.Replace()), plainjobs.In(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	old := replace("old")
	if replace("new") != old {
		t.Error("Replace stored another job")
	}
	if info, err := q.Get(ctx, old); err != nil || string(info.Payload) != `"new"` || info.UniqueKey != "r" {
		t.Errorf("the replaced job is %+v, %v", info, err)
	}
}

func TestMaxPending(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	if _, err := q.PerformMany(ctx, boundJob.With("a"), boundJob.With("b")); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Perform(ctx, boundJob.With("c")); !errors.Is(err, plainjobs.ErrQueueFull) {
		t.Errorf("Perform = %v, want ErrQueueFull", err)
	}
}

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
		"failed":   {plainjobs.Filter{State: plainjobs.Failed}, []int64{ids[1]}},
		"error":    {plainjobs.Filter{Error: "at 42"}, []int64{ids[1]}},
		"IDs":      {plainjobs.Filter{IDs: []int64{ids[0], 99}}, []int64{ids[0]}},
		"future":   {plainjobs.Filter{Since: time.Now().Add(time.Hour)}, nil},
		"name":     {plainjobs.Filter{Name: "other"}, nil},
		"combined": {plainjobs.Filter{Name: "life/plain", State: plainjobs.Done}, []int64{ids[0]}},
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
			t.Errorf("%s of everything without saying so = %d, %v", what, n, err)
		}
	}
	if n, err := q.Retry(ctx, plainjobs.Filter{State: plainjobs.Failed}); n != 1 || err != nil {
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

// Retry is for what went wrong. What is done runs again only if that was said.
// In a test without a worker a handler that awaits a job that waits hears why it
// would hang.
func TestAwaitWithoutWorker(t *testing.T) {
	_, memory := plainjobstest.Memory(t)
	_, inline := plainjobstest.Inline(t)
	for what, q := range map[string]*plainjobs.Queue{"memory": memory, "inline": inline} {
		plainjobs.HandleResult(q, resultJob, func(context.Context, int) (string, error) { return "", nil })
		plainjobs.Handle(q, lifeJob, func(ctx context.Context, _ string) error {
			id, err := q.Perform(ctx, resultJob.With(1, plainjobs.In(time.Millisecond)))
			if err == nil {
				_, err = resultJob.Await(ctx, q, id)
			}
			return plainjobs.Cancel(err)
		})
		_, err := q.Perform(t.Context(), lifeJob.With(""))
		for _, drained := range plainjobstest.Drain(t, q, plainjobstest.Failures()) {
			err = errors.Join(err, drained)
		}
		if err == nil || !strings.Contains(err.Error(), "no worker runs in this test") {
			t.Errorf("%s: a handler that awaits a job that waits ended with %v", what, err)
		}
	}
}

// Jobs that are retried at a low priority hold up no new ones.
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
	if n, err := q.Retry(ctx, plainjobs.Filter{Name: "life/plain"}); n != 3 || err != nil {
		t.Errorf("Retry by name = %d, %v, want 3", n, err)
	}
	if got, want := states(), []plainjobs.State{plainjobs.Done, plainjobs.Pending, plainjobs.Pending, plainjobs.Pending}; !slices.Equal(got, want) {
		t.Errorf("the jobs are %v, want %v", got, want)
	}
	fail = false
	plainjobstest.Drain(t, q)
	for what, filter := range map[string]plainjobs.Filter{
		"IDs": {IDs: ids}, "state": {Name: "life/plain", State: plainjobs.Done}, "all": {All: true},
	} {
		if n, err := q.Retry(ctx, filter); n != 4 || err != nil {
			t.Errorf("Retry by %s = %d, %v, want 4", what, n, err)
		}
		plainjobstest.Drain(t, q)
	}
}

// An empty list of IDs is what a program has that found none, and selects none.
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
		if n, more, err := q.Count(ctx, plainjobs.Filter{State: 99}, true); n != 0 || more || !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%s: Count of an unknown state = %d, %v, %v", what, n, more, err)
		}
	}
	for what, op := range map[string]func(context.Context, plainjobs.Filter) (int, error){
		"Cancel": memory.Cancel, "Delete": memory.Delete,
		"Retry": func(ctx context.Context, f plainjobs.Filter) (int, error) { return memory.Retry(ctx, f) },
	} {
		for _, filter := range []plainjobs.Filter{none, {IDs: []int64{}, Name: "life/plain"}, {IDs: []int64{}, All: true}} {
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

func TestWhy(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	perform := func(task plainjobs.Task) int64 {
		t.Helper()
		id, err := q.Perform(ctx, task)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	why := func(id int64, want string) {
		t.Helper()
		if got, err := q.Why(ctx, id); err != nil || !strings.Contains(got, want) {
			t.Errorf("Why = %q, %v, want %q", got, err, want)
		}
	}
	plain := perform(lifeJob.With(""))
	why(plain, "No worker is alive: start one.")
	if _, err := b.SetEnvironment(ctx, "", "production"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PLAINJOBS_ENV", "")
	why(plain, "No worker of the environment production, which the database belongs to, is alive. Workers with another value of PLAINJOBS_ENV are paused")
	t.Setenv("PLAINJOBS_ENV", "production")
	why(plain, "No worker is alive: start one with PLAINJOBS_ENV=production")
	worker := backend.Worker{ID: 7, Host: "here", PID: 8, Lease: time.Hour, Jobs: []string{"something"}}
	claim := func(names ...string) []backend.Job {
		jobs, err := b.Claim(ctx, backend.ClaimRequest{Worker: worker, Register: true, Names: names, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		return jobs
	}
	claim()
	why(plain, "The only live worker does not know the name life/plain")
	if _, err := b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: worker, Leave: true}); err != nil {
		t.Fatal(err)
	}
	worker.ID, worker.Jobs = 9, []string{"life/plain"}
	claim()
	why(plain, "It waits for a slot of the only live worker that knows its name")
	for what, name := range map[string]string{"named life/plain are paused": "life/plain", "whole queue is paused": ""} {
		if err := q.Pause(ctx, name); err != nil {
			t.Fatal(err)
		}
		why(plain, what)
		if err := q.Resume(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	why(perform(lifeJob.With("", plainjobs.In(time.Hour))), "It is scheduled for")
	// One that is due is held by something else, though it was not made ready.
	due := perform(lifeJob.With("", plainjobs.In(time.Microsecond)))
	for get(t, b, due).RunAt.After(time.Now()) {
		runtime.Gosched()
	}
	why(due, "It waits for a slot of the only live worker that knows its name")
	claim("life/plain")
	why(plain, "It runs, in attempt 1, on here (pid 8)")
	if err := b.Set(ctx, []backend.Settings{{Name: "life/plain", MaxRunning: 1}}); err != nil {
		t.Fatal(err)
	}
	head := perform(lifeJob.With("", plainjobs.Serial("s")))
	why(head, "1 jobs named life/plain are running, the limit")
	why(perform(lifeJob.With("", plainjobs.Serial("s"))), fmt.Sprintf("held by job #%d", head))
	if _, err := q.Cancel(ctx, plainjobs.Filter{IDs: []int64{plain, head}}); err != nil {
		t.Fatal(err)
	}
	why(plain, "was cancelled, and its handler has not returned")
	why(head, "It is cancelled since")
	if _, err := q.Why(ctx, 1<<40); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("Why of no job = %v", err)
	}
}

func TestResults(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	plainjobs.HandleResult(q, resultJob, func(_ context.Context, n int) (string, error) {
		if n < 0 {
			return "", plainjobs.Cancel(errors.New("negative"))
		}
		return strings.Repeat("x", n), nil
	})
	ids, err := q.PerformMany(ctx, resultJob.With(3), resultJob.With(-1), resultJob.With(2<<20))
	if err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, q, plainjobstest.Failures())
	if r, err := resultJob.Await(ctx, q, ids[0]); r != "xxx" || err != nil {
		t.Errorf("Await = %q, %v", r, err)
	}
	var failed *plainjobs.JobError
	if _, err := resultJob.Await(ctx, q, ids[1]); !errors.As(err, &failed) || failed.State != plainjobs.Cancelled || failed.ID != ids[1] {
		t.Errorf("Await of a cancelled job = %v", err)
	}
	// A result that is too large fails the run, and nothing of it is stored.
	if info, err := q.Get(ctx, ids[2]); err != nil || info.State != plainjobs.Scheduled || info.Result != nil ||
		!strings.Contains(info.Errors[0].Error, "at most 1048576") {
		t.Errorf("the job with a large result is %v with %+v, %v", info.State, info.Errors, err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := resultJob.Await(short, q, ids[2]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await of a job that waits = %v", err)
	}
	if _, err := resultJob.Await(ctx, q, 1<<40); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("Await of no job = %v", err)
	}
}

// Who knows a job by its new name gets the result of one that was pushed under
// the old.
func TestAwaitByAlias(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	plainjobs.HandleResult(q, renamedResult, func(_ context.Context, n int) (int, error) { return n + 1, nil })
	pushed, err := b.Push(ctx, []backend.NewJob{
		{Name: "life/result-old", Payload: []byte("6"), MaxAttempts: 1}, {Name: "life/plain", Payload: []byte(`""`), MaxAttempts: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	plainjobs.Handle(q, lifeJob, func(context.Context, string) error { return nil })
	plainjobstest.Drain(t, q)
	if r, err := renamedResult.Await(ctx, q, pushed[0].ID); r != 7 || err != nil {
		t.Errorf("Await = %d, %v, want 7", r, err)
	}
	if _, err := renamedResult.Await(ctx, q, pushed[1].ID); err == nil || !strings.Contains(err.Error(), "is named life/plain, not life/result-new") {
		t.Errorf("Await of another job = %v", err)
	}
}

type chanResult struct{ C chan int }

var unencodable = plainjobs.DefineResult("life/unencodable", func(context.Context, int) (chanResult, error) {
	return chanResult{}, nil
})

func TestResultDoesNotEncode(t *testing.T) {
	ctx, _ := plainjobstest.Inline(t)
	_, err := plainjobs.Perform(ctx, unencodable.With(1))
	if err == nil || !strings.Contains(err.Error(), "result of job life/unencodable #1, a plainjobs_test.chanResult, does not encode") {
		t.Errorf("Perform = %v", err)
	}
}

type traceKey struct{}

// calls are those of wrapped and its middleware, in order.
var calls []string

// note is a middleware that is seen in calls, in the context and in the error.
func note(name string) plainjobs.Middleware {
	return func(next plainjobs.Handler) plainjobs.Handler {
		return func(ctx context.Context, job *plainjobs.Info) error {
			calls = append(calls, fmt.Sprintf("%s %s %s", name, job.Name, job.Metadata["trace"]))
			err := next(context.WithValue(ctx, traceKey{}, name), job)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return err
		}
	}
}

var wrapped = plainjobs.Define("life/wrapped", func(ctx context.Context, _ int) error {
	info, ok := plainjobs.FromContext(ctx)
	calls = append(calls, fmt.Sprint("handler ", ctx.Value(traceKey{}), " ", info.ID, " ", ok))
	plainjobs.Logger(ctx).Info("fine")
	plainjobs.Progress(ctx, 1, 2)
	return errors.New("no")
}, plainjobs.Use(note("job")))

func TestMiddlewareAndMetadata(t *testing.T) {
	calls = nil
	ctx, _ := plainjobstest.Inline(t, plainjobstest.Queue(plainjobs.Options{
		Middleware: []plainjobs.Middleware{note("outer"), note("inner")},
		Metadata:   func(context.Context) map[string]string { return map[string]string{"trace": "t1"} },
	}))
	_, err := plainjobs.Perform(ctx, wrapped.With(1))
	if err == nil || !strings.Contains(err.Error(), "outer: inner: job: no") {
		t.Errorf("Perform = %v", err)
	}
	want := []string{"outer life/wrapped t1", "inner life/wrapped t1", "job life/wrapped t1", "handler job 1 true"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls are %q, want %q", calls, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("New with nil in its middleware did not panic")
		}
	}()
	plainjobs.New(engineless{}, &plainjobs.Options{Middleware: []plainjobs.Middleware{nil}})
}

// A middleware that loses the run's context fails the run, and is told so.
func TestMiddlewareLosesTheContext(t *testing.T) {
	ctx, q := plainjobstest.Inline(t, plainjobstest.Queue(plainjobs.Options{Middleware: []plainjobs.Middleware{
		func(next plainjobs.Handler) plainjobs.Handler {
			return func(ctx context.Context, job *plainjobs.Info) error {
				if job.Priority == 1 {
					return next(ctx, nil)
				}
				return next(context.Background(), job)
			}
		},
	}}))
	ran := false
	plainjobs.Handle(q, lifeJob, func(context.Context, string) error { ran = true; return nil })
	for _, task := range []plainjobs.Task{lifeJob.With(""), lifeJob.With("", plainjobs.Priority(1))} {
		_, err := q.Perform(ctx, task)
		var panicked *plainjobs.PanicError
		if err == nil || !strings.Contains(err.Error(), "middleware") || errors.As(err, &panicked) || ran {
			t.Errorf("Perform = %v, and the handler ran: %v", err, ran)
		}
	}
}

// engineless is a store without capabilities.
type engineless struct{ backend.Backend }

func TestMissingCapabilities(t *testing.T) {
	q := plainjobs.New(engineless{}, nil)
	ctx := t.Context()
	for what, call := range map[string]func() error{
		"get":            func() error { _, err := q.Get(ctx, 1); return err },
		"list":           func() error { _, _, err := q.List(ctx, plainjobs.Filter{}, 0, 0); return err },
		"counts":         func() error { _, err := q.Counts(ctx); return err },
		"workers":        func() error { _, err := q.Workers(ctx); return err },
		"names":          func() error { _, err := q.Names(ctx); return err },
		"retry":          func() error { _, err := q.Retry(ctx, plainjobs.Filter{IDs: []int64{1}}); return err },
		"pause":          func() error { return q.Pause(ctx, "") },
		"schedules":      func() error { _, err := q.Schedules(ctx); return err },
		"pause schedule": func() error { return q.PauseSchedule(ctx, "x", true) },
	} {
		if err := call(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s by a store that cannot = %v, want ErrUnsupported", what, err)
		}
	}
}

func TestEvents(t *testing.T) {
	q, _ := newQueue(t, nil)
	var kinds []plainjobs.EventKind
	stop := q.Subscribe(func(e plainjobs.Event) { kinds = append(kinds, e.Kind) })
	twice := lifeJob.With("", plainjobs.Unique("once"))
	for range 2 {
		if _, err := q.Perform(t.Context(), twice); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if _, err := q.Perform(t.Context(), lifeJob.With("")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(kinds, []plainjobs.EventKind{plainjobs.EventPushed}) || kinds[0].String() != "pushed" {
		t.Errorf("events are %v, want one push: a duplicate is none, and the last had no subscriber", kinds)
	}
}

// What was just pushed is shown as it is stored.
func TestPushedEvent(t *testing.T) {
	q, b := newQueue(t, nil)
	var told plainjobs.Info
	defer q.Subscribe(func(e plainjobs.Event) { told = e.Job })()
	for _, c := range []struct {
		task plainjobs.Task
		want plainjobs.State
	}{
		{lifeJob.With(""), plainjobs.Pending},
		{lifeJob.With("", plainjobs.In(time.Hour), plainjobs.Priority(2), plainjobs.MaxAttempts(9)), plainjobs.Scheduled},
	} {
		id, err := q.Perform(t.Context(), c.task)
		if err != nil {
			t.Fatal(err)
		}
		stored := get(t, b, id)
		if told.ID != id || told.State != c.want || stored.State != c.want || told.Priority != stored.Priority || told.MaxAttempts != stored.MaxAttempts {
			t.Errorf("told of %+v, stored is %+v", told, stored)
		}
		if told.CreatedAt.Before(stored.CreatedAt) || told.RunAt.Sub(told.CreatedAt) != stored.RunAt.Sub(stored.CreatedAt) {
			t.Errorf("told of %v for %v, stored is %v for %v", told.CreatedAt, told.RunAt, stored.CreatedAt, stored.RunAt)
		}
	}
}

func TestBackoffPolicies(t *testing.T) {
	exponential := plainjobs.Exponential(time.Second, time.Minute)
	for attempt, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 30: time.Minute} {
		if got := exponential(attempt, nil); got < want*9/10 || got > want*11/10 {
			t.Errorf("Exponential in attempt %d = %v, want %v ± 10 %%", attempt, got, want)
		}
	}
	if got := plainjobs.Fixed(time.Hour)(9, nil); got != time.Hour {
		t.Errorf("Fixed = %v", got)
	}
}

var daily = plainjobs.Cron("life/daily", "30 2 * * *", func(context.Context, time.Time) error { return nil },
	plainjobs.Zone("Europe/Berlin"), plainjobs.MaxAttempts(3))

var keyedTick = plainjobs.Every("life/keyed-tick", time.Hour, func(context.Context, time.Time) error { return nil },
	plainjobs.UniqueBy(func(time.Time) string { return "k" }, plainjobs.Reject()))

// Who runs a schedule by hand learns which job is there already.
func TestRunScheduleTwice(t *testing.T) {
	q, _ := newQueue(t, nil)
	first, err := q.RunSchedule(t.Context(), keyedTick.Name())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := q.RunSchedule(t.Context(), keyedTick.Name()); id != first || !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("RunSchedule = %d, %v, want %d and ErrDuplicate", id, err, first)
	}
}

func TestNextTicks(t *testing.T) {
	ticks, err := plainjobs.NextTicks(daily.Name(), time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC), 3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tick := range ticks {
		got = append(got, tick.Format(time.RFC3339))
	}
	// On the 29th the clock goes from 2:00 to 3:00.
	want := []string{"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}
	if !slices.Equal(got, want) {
		t.Errorf("ticks are %q, want %q", got, want)
	}
	if _, err := plainjobs.NextTicks("unknown", time.Now(), 1); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("NextTicks of no schedule = %v", err)
	}
	q, _ := newQueue(t, nil)
	id, err := q.RunSchedule(t.Context(), daily.Name())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := q.Get(t.Context(), id); err != nil || info.Name != daily.Name() || info.MaxAttempts != 3 {
		t.Errorf("RunSchedule pushed %+v, %v", info, err)
	}
}
