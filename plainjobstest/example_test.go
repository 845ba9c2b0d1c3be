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
