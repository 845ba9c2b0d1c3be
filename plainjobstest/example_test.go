package plainjobstest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

// In a test of one's own, t is the test's.
var t testing.TB = exampleT{}

type exampleT struct{ testing.TB }

func (exampleT) Helper()                  {}
func (exampleT) Cleanup(func())           {}
func (exampleT) Context() context.Context { return context.Background() }

var thank = plainjobs.Define("thank", func(_ context.Context, name string) error {
	fmt.Println("thanks,", name)
	return nil
})

// A job runs at once, and its error is Perform's.
func ExampleInline() {
	ctx, queue := plainjobstest.Inline(t)
	plainjobs.Handle(queue, thank, func(_ context.Context, name string) error {
		return fmt.Errorf("no address of %s", name)
	})
	_, err := plainjobs.Perform(ctx, thank.With("Ada"))
	fmt.Println(err)
	// Output: plainjobs: perform thank: no address of Ada
}

// A job is stored, looked at, and run when the test says so.
func ExampleMemory() {
	ctx, queue := plainjobstest.Memory(t)
	if _, err := plainjobs.Perform(ctx, thank.With("Grace")); err != nil {
		fmt.Println(err)
	}
	info := plainjobstest.RequireEnqueued(t, queue, thank, "Grace")
	fmt.Println(info.Name, info.State)
	plainjobstest.Drain(t, queue)
	// Output:
	// thank pending
	// thanks, Grace
}

// A predicate finds a job of whose data only a part is known. Enqueued returns the data
// of all jobs.
func ExampleRequireEnqueuedFunc() {
	ctx, queue := plainjobstest.Memory(t)
	for _, name := range []string{"Ada", "Grace"} {
		if _, err := plainjobs.Perform(ctx, thank.With(name)); err != nil {
			fmt.Println(err)
		}
	}
	info := plainjobstest.RequireEnqueuedFunc(t, queue, thank, func(name string) bool { return name[0] == 'G' })
	fmt.Println(info.ID, plainjobstest.Enqueued(t, queue, thank))
	// Output: 2 [Ada Grace]
}

// A handler is a function, and Context says which run it is in.
func ExampleContext() {
	handler := func(ctx context.Context, name string) error {
		if job, _ := plainjobs.FromContext(ctx); job.Attempt == job.MaxAttempts {
			return fmt.Errorf("%s is out of reach, and this was the last attempt", name)
		}
		return plainjobs.Snooze(0)
	}
	err := handler(plainjobstest.Context(t, plainjobs.Info{Attempt: 4, MaxAttempts: 4}), "Ada")
	fmt.Println(err)
	// Output: Ada is out of reach, and this was the last attempt
}
