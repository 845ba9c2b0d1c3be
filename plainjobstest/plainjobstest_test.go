package plainjobstest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

type contact struct{ Email string }

var (
	// mails counts what the job of the package's own handler did.
	mails atomic.Int64

	doubleOptIn = plainjobs.Define("double-opt-in", func(_ context.Context, c contact) error {
		mails.Add(1)
		if c.Email == "" {
			return errors.New("no address")
		}
		return nil
	}, plainjobs.MaxAttempts(3))
	chained = plainjobs.Declare[int]("chained")
	report  = plainjobs.Cron("report", "0 6 * * 1-5", func(context.Context, time.Time) error { return nil })
)

// What a service does that is under test.
func create(ctx context.Context, email string) error {
	_, err := plainjobs.Perform(ctx, doubleOptIn.With(contact{email}))
	return err
}

// A test that does nothing special has its jobs run at once.
func TestAtOnceWithoutAQueue(t *testing.T) {
	before := mails.Load()
	if err := create(t.Context(), "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	if mails.Load() != before+1 {
		t.Error("the job did not run")
	}
	if err := create(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("Perform = %v, want the run's error", err)
	}
	later := doubleOptIn.With(contact{"x"}, plainjobs.In(time.Hour))
	if _, err := plainjobs.Perform(t.Context(), later); err != nil || mails.Load() != before+2 {
		t.Errorf("a task for later was run, or refused: %v", err)
	}
}

func TestInline(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	var to []string
	plainjobs.Handle(q, doubleOptIn, func(ctx context.Context, c contact) error {
		to = append(to, c.Email)
		switch c.Email {
		case "panic":
			panic("ouch")
		case "exit":
			runtime.Goexit()
		case "cancel":
			return plainjobs.Cancel(errors.New("unknown"))
		case "snooze":
			return plainjobs.Snooze(time.Hour)
		}
		return nil
	})
	if err := create(ctx, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	for email, want := range map[string]string{"panic": "panic: ouch", "exit": "Goexit", "cancel": "unknown"} {
		if err := create(ctx, email); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Perform = %v, want %q", err, want)
		}
	}
	if err := create(ctx, "snooze"); err != nil {
		t.Errorf("a snooze is no failure: %v", err)
	}
	if len(to) != 5 {
		t.Errorf("ran for %q", to)
	}
	info := plainjobstest.RequireEnqueued(t, q, doubleOptIn, contact{"ada@example.com"})
	if info.State != plainjobs.Done {
		t.Errorf("the job is %v", info.State)
	}
	plainjobstest.RefuteEnqueued(t, q, doubleOptIn, contact{"eve@example.com"})
}

// Jobs perform others with their own context, which run at once too.
func TestInlineNests(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	deepest := 0
	plainjobs.Handle(q, chained, func(ctx context.Context, n int) error {
		deepest = max(deepest, n)
		if n == 50 {
			return nil
		}
		_, err := plainjobs.Perform(ctx, chained.With(n+1))
		return err
	})
	if _, err := plainjobs.Perform(ctx, chained.With(1)); err != nil || deepest != 50 {
		t.Errorf("went %d deep: %v", deepest, err)
	}
	if _, err := plainjobs.Perform(ctx, chained.With(51)); err == nil || !strings.Contains(err.Error(), "100 deep") {
		t.Errorf("endless recursion ends with %v", err)
	}
}

// A transaction's jobs are recorded, as the commit is not visible.
func TestInlineInTransaction(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	ran := 0
	plainjobs.Handle(q, doubleOptIn, func(context.Context, contact) error { ran++; return nil })
	if _, err := q.WithTx(new(sql.Tx)).Perform(ctx, doubleOptIn.With(contact{"a"})); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Perform(ctx, doubleOptIn.With(contact{"b"}, plainjobs.In(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if ran != 0 {
		t.Fatal("a recorded job was run")
	}
	plainjobstest.Drain(t, q)
	if ran != 1 {
		t.Errorf("Drain ran %d jobs, want the one that is due", ran)
	}
	plainjobstest.Drain(t, q, plainjobstest.Future())
	if ran != 2 {
		t.Errorf("Drain of the future left %d runs, want 2", ran)
	}
}

func TestInlineUnique(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Inline(t)
	later := func(email string, opts ...plainjobs.UniqueOption) (int64, error) {
		return q.Perform(ctx, doubleOptIn.With(contact{email}, plainjobs.In(time.Hour), plainjobs.Unique("k", opts...)))
	}
	first, err := later("a")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := later("b"); id != first || err != nil {
		t.Errorf("keep first = %d, %v", id, err)
	}
	if id, err := later("c", plainjobs.Reject()); id != first || !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("reject = %d, %v", id, err)
	}
	if id, err := later("d", plainjobs.Replace()); id != first || err != nil {
		t.Errorf("replace = %d, %v", id, err)
	}
	plainjobstest.RequireEnqueued(t, q, doubleOptIn, contact{"d"})
	plainjobstest.RefuteEnqueued(t, q, doubleOptIn, contact{"a"})
}

func TestMemory(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	runs := map[string]int{}
	plainjobs.Handle(q, doubleOptIn, func(ctx context.Context, c contact) error {
		runs[c.Email]++
		switch {
		case c.Email == "flaky" && runs[c.Email] == 1, c.Email == "bad":
			return errors.New("not today")
		case c.Email == "parent":
			return create(ctx, "child")
		}
		return nil
	})
	for _, email := range []string{"a", "flaky", "bad", "parent"} {
		if err := create(ctx, email); err != nil {
			t.Fatal(err)
		}
	}
	if len(runs) != 0 {
		t.Fatal("a job ran before Drain")
	}
	if info := plainjobstest.RequireEnqueued(t, q, doubleOptIn, contact{"bad"}); info.State != plainjobs.Pending {
		t.Errorf("the job is %v", info.State)
	}
	errs := plainjobstest.Drain(t, q, plainjobstest.Retries(), plainjobstest.Failures())
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "not today") {
		t.Errorf("Drain = %v, want the one that failed for good", errs)
	}
	want := map[string]int{"a": 1, "flaky": 2, "bad": 3, "parent": 1, "child": 1}
	if fmt.Sprint(runs) != fmt.Sprint(want) {
		t.Errorf("runs are %v, want %v", runs, want)
	}
}

// A failing job fails the test that drains it.
func TestDrainFails(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	if err := create(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Perform(ctx, chained.With(1)); err != nil { // it has no handler
		t.Fatal(err)
	}
	r := &recorder{TB: t}
	errs := plainjobstest.Drain(r, q)
	if len(errs) != 2 || r.errors != 2 || !strings.Contains(fmt.Sprint(errs), "has no handler") {
		t.Errorf("Drain reported %d of %v", r.errors, errs)
	}
}

type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Errorf(string, ...any) { r.errors++ }

// In a bubble a day passes at once.
func TestSimulatedDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Memory(t)
		ran := 0
		plainjobs.Handle(q, doubleOptIn, func(context.Context, contact) error { ran++; return nil })
		if _, err := plainjobs.Perform(ctx, doubleOptIn.With(contact{"a"}, plainjobs.In(24*time.Hour))); err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q)
		if ran != 0 {
			t.Error("a job for tomorrow ran today")
		}
		time.Sleep(24 * time.Hour)
		plainjobstest.Drain(t, q)
		if ran != 1 {
			t.Errorf("ran %d times", ran)
		}
	})
}

func TestClock(t *testing.T) {
	t.Parallel()
	clock := plainjobstest.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	ctx, q := plainjobstest.Memory(t, plainjobstest.WithClock(clock))
	ran := 0
	plainjobs.Handle(q, doubleOptIn, func(context.Context, contact) error { ran++; return nil })
	if _, err := plainjobs.Perform(ctx, doubleOptIn.With(contact{"a"}, plainjobs.In(time.Hour))); err != nil {
		t.Fatal(err)
	}
	clock.Advance(59 * time.Minute)
	plainjobstest.Drain(t, q)
	clock.Advance(time.Minute)
	if ran != 0 {
		t.Error("the job ran before its time")
	}
	plainjobstest.Drain(t, q)
	if ran != 1 {
		t.Errorf("ran %d times", ran)
	}
}

func TestTick(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB, ...plainjobstest.Option) (context.Context, *plainjobs.Queue){
		"inline": plainjobstest.Inline, "memory": plainjobstest.Memory,
	} {
		_, q := open(t)
		var ticks []time.Time
		plainjobs.Handle(q, report, func(_ context.Context, tick time.Time) error { ticks = append(ticks, tick); return nil })
		at := time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
		plainjobstest.Tick(t, q, "report", at)
		plainjobstest.Drain(t, q)
		if !slices.Equal(ticks, []time.Time{at}) {
			t.Errorf("%s: ticks are %v", name, ticks)
		}
	}
}

// Torture shows a handler that is not idempotent.
func TestTorture(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB, ...plainjobstest.Option) (context.Context, *plainjobs.Queue){
		"inline": plainjobstest.Inline, "memory": plainjobstest.Memory,
	} {
		ctx, q := open(t, plainjobstest.Torture())
		balance, attempts := 0, []int{}
		plainjobs.Handle(q, doubleOptIn, func(ctx context.Context, c contact) error {
			info, _ := plainjobs.FromContext(ctx)
			attempts = append(attempts, info.Attempt)
			balance += 10 // not idempotent
			return nil
		})
		if err := create(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q)
		if balance != 20 || !slices.Equal(attempts, []int{1, 1}) {
			t.Errorf("%s: the balance is %d after attempts %v, want two runs of the same", name, balance, attempts)
		}
	}
}

// A handler that completes its job together with its effects is idempotent, and
// torture does not accuse it.
func TestTortureOfWhatCompletesItself(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB, ...plainjobstest.Option) (context.Context, *plainjobs.Queue){
		"inline": plainjobstest.Inline, "memory": plainjobstest.Memory,
	} {
		ctx, q := open(t, plainjobstest.Torture())
		runs := 0
		plainjobs.Handle(q, doubleOptIn, func(ctx context.Context, c contact) error {
			runs++
			return plainjobs.Complete(ctx, new(sql.Tx))
		})
		if err := create(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q)
		if runs != 1 {
			t.Errorf("%s: it ran %d times", name, runs)
		}
	}
}
