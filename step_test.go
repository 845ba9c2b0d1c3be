package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

type Decision struct{ By string }

var Approval = plainjobs.DefineSignal[Decision]("approval")

// An order is charged once, however often its job runs, and shipped when it is approved.
var PlaceOrder = plainjobs.Define("place-order", func(ctx context.Context, order int) error {
	charge, err := plainjobs.Step(ctx, "charge", func(context.Context) (string, error) {
		fmt.Println("charges the card")
		return fmt.Sprint("charge of order ", order), nil
	})
	if err != nil {
		return err
	}
	decision, err := Approval.Wait(ctx, fmt.Sprint("order ", order), 72*time.Hour)
	if err != nil {
		return err
	}
	fmt.Println(charge, "is approved by", decision.By)
	return nil
})

// An order waits for its approval without a slot, for days if need be. Its card is charged once.
func ExampleSignal() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	if _, err := queue.Perform(ctx, PlaceOrder.With(7)); err != nil {
		log.Fatal(err)
	}
	// The signal may come before the job waits for it, and from another process.
	if err := Approval.Send(ctx, queue, "order 7", Decision{By: "Ada"}); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, PlaceOrder)
	// Output:
	// charges the card
	// charge of order 7 is approved by Ada
}

func TestSteps(t *testing.T) {
	ctx, queue := plainjobstest.Memory(t)
	calls := map[string]int{}
	job := plainjobs.Declare[int]("steps")
	failing := true
	plainjobs.Handle(queue, job, func(ctx context.Context, n int) error {
		for _, name := range []string{"a", "b"} {
			got, err := plainjobs.Step(ctx, name, func(context.Context) (int, error) {
				calls[name]++
				if name == "b" && failing {
					return 0, errors.New("b fails")
				}
				return n, nil
			})
			if err != nil {
				return err
			}
			if got != n {
				t.Errorf("step %s = %d, want %d", name, got, n)
			}
		}
		return plainjobs.Sleep(ctx, "nap", time.Hour)
	})
	id, err := queue.Perform(ctx, job.With(3))
	if err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, queue, plainjobstest.Failures())
	failing = false
	plainjobstest.Drain(t, queue, plainjobstest.Retries(), plainjobstest.Future())
	if calls["a"] != 1 || calls["b"] != 2 {
		t.Errorf("the steps were called %v times, want a once and b twice", calls)
	}
	steps, err := queue.Steps(ctx, id)
	var names []string
	for _, s := range steps {
		names = append(names, s.Name+"="+string(s.Result))
	}
	if err != nil || !slices.Equal(names, []string{"a=3", "b=3", "nap=null"}) {
		t.Errorf("Steps = %q, %v", names, err)
	}
}

func TestBadSteps(t *testing.T) {
	nothing := func(context.Context) (int, error) { return 0, nil }
	for name, c := range map[string]struct {
		run  func(ctx context.Context) error
		want string
	}{
		"twice": {func(ctx context.Context) error {
			_, _ = plainjobs.Step(ctx, "a", nothing)
			_, err := plainjobs.Step(ctx, "a", nothing)
			return err
		}, `step "a" is used twice in one run`},
		"no name": {func(ctx context.Context) error {
			_, err := plainjobs.Step(ctx, "", nothing)
			return err
		}, "1 to 255 bytes"},
		"too many": {func(ctx context.Context) error {
			for i := range 1001 {
				if _, err := plainjobs.Step(ctx, fmt.Sprint(i), nothing); err != nil {
					return err
				}
			}
			return nil
		}, "has 1000 steps"},
		"does not encode": {func(ctx context.Context) error {
			_, err := plainjobs.Step(ctx, "a", func(context.Context) (func(), error) { return func() {}, nil })
			return err
		}, "does not encode"},
		"too large": {func(ctx context.Context) error {
			_, err := plainjobs.Step(ctx, "a", func(context.Context) (string, error) { return strings.Repeat("x", 1<<20), nil })
			return err
		}, "payload is too large"},
		"swallowed": {func(ctx context.Context) error {
			_ = plainjobs.Sleep(ctx, "a", time.Hour)
			return nil
		}, "returned nil although its job is to sleep"},
		"a step while it sleeps": {func(ctx context.Context) error {
			_ = plainjobs.Sleep(ctx, "a", time.Hour)
			if _, err := plainjobs.Step(ctx, "b", nothing); err == nil {
				t.Error("a step after Sleep ran")
			}
			return errors.New("own error")
		}, "own error"},
		"no timeout": {func(ctx context.Context) error {
			_, err := Approval.Wait(ctx, "x", 0)
			return err
		}, "is not positive"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, queue := plainjobstest.Inline(t)
			job := plainjobs.Declare[int]("bad-steps-" + strings.ReplaceAll(name, " ", "-"))
			plainjobs.Handle(queue, job, func(ctx context.Context, _ int) error { return c.run(ctx) })
			if _, err := queue.Perform(ctx, job.With(0)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the run returned %v, want %q", err, c.want)
			}
		})
	}
	if _, err := plainjobs.Step(t.Context(), "a", nothing); err == nil {
		t.Error("Step outside of a handler succeeded")
	}
}

func TestStepDoesNotDecode(t *testing.T) {
	ctx, queue := plainjobstest.Memory(t)
	job := plainjobs.Declare[int]("changes")
	first := true
	plainjobs.Handle(queue, job, func(ctx context.Context, _ int) error {
		if first {
			first = false
			_, _ = plainjobs.Step(ctx, "a", func(context.Context) (string, error) { return "text", nil })
			return errors.New("later")
		}
		n, err := plainjobs.Step(ctx, "a", func(context.Context) (int, error) { return 1, nil })
		if err == nil && n != 1 {
			t.Errorf("the step returned %d", n)
		}
		return err
	})
	id, _ := queue.Perform(ctx, job.With(0))
	plainjobstest.Drain(t, queue, plainjobstest.Failures())
	errs := plainjobstest.Drain(t, queue, plainjobstest.Failures(), plainjobstest.Future())
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), `the stored result of step "a" does not decode as int`) {
		t.Fatalf("the errors are %v", errs)
	}
	if err := queue.RetryFrom(ctx, id, "b"); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("RetryFrom an unknown step = %v", err)
	}
	if err := queue.RetryFrom(ctx, id, "a"); err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, queue)
	if info, err := queue.Get(ctx, id); err != nil || info.State != plainjobs.Done {
		t.Errorf("the job is %v, %v", info.State, err)
	}
}

func TestSignals(t *testing.T) {
	ctx, queue := plainjobstest.Memory(t)
	var got []string
	job := plainjobs.Declare[string]("waits-for-signal")
	plainjobs.Handle(queue, job, func(ctx context.Context, key string) error {
		d, err := Approval.Wait(ctx, key, time.Hour)
		if errors.Is(err, plainjobs.ErrSignalTimeout) {
			got = append(got, key+" is late")
			return nil
		}
		if err == nil {
			got = append(got, key+" by "+d.By)
		}
		return err
	})
	if err := Approval.Send(ctx, queue, "early", Decision{"Eve"}); err != nil {
		t.Fatal(err)
	}
	ids, err := queue.PerformMany(ctx, job.With("early"), job.With("sent"), job.With("late"))
	if err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, queue)
	if why, err := queue.Why(ctx, ids[1]); err != nil || !strings.Contains(why, `signal approval "sent"`) {
		t.Errorf("Why = %q, %v", why, err)
	}
	if err := Approval.Send(ctx, queue, "sent", Decision{"Ada"}); err != nil {
		t.Fatal(err)
	}
	if err := Approval.Send(ctx, queue, "sent", Decision{"Bob"}); !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("a signal that is sent twice: %v", err)
	}
	plainjobstest.Drain(t, queue)
	if want := []string{"early by Eve", "sent by Ada"}; !slices.Equal(got, want) {
		t.Errorf("the runs are %q, want %q", got, want)
	}
	plainjobstest.Drain(t, queue, plainjobstest.Future())
	if want := []string{"early by Eve", "sent by Ada", "late is late"}; !slices.Equal(got, want) {
		t.Errorf("the runs are %q, want %q", got, want)
	}
}
