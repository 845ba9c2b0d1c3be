package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var requested = plainjobs.Declare[int]("requested")

// A middleware can see the ending that the handler requested, even in a wrapped error.
func TestRequestedEndInMiddleware(t *testing.T) {
	var seen error
	ctx, q := plainjobstest.Memory(t, plainjobstest.Queue(plainjobs.Options{Middleware: []plainjobs.Middleware{
		func(next plainjobs.Handler) plainjobs.Handler {
			return func(ctx context.Context, job *plainjobs.Info) error {
				seen = next(ctx, job)
				return seen
			}
		},
	}}))
	run := func(err error) {
		t.Helper()
		plainjobs.Handle(q, requested, func(context.Context, int) error { return fmt.Errorf("handler: %w", err) })
		if _, err := plainjobs.Perform(ctx, requested.With(1)); err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q, plainjobstest.Failures())
	}

	run(plainjobs.Cancel(io.EOF))
	if e, ok := errors.AsType[*plainjobs.CancelError](seen); !ok || !errors.Is(e.Err, io.EOF) || !errors.Is(seen, io.EOF) || !errors.Is(seen, plainjobs.ErrCancelled) {
		t.Errorf("the middleware of a run that cancels its job sees %#v", seen)
	}
	run(plainjobs.RetryAfter(time.Minute, io.EOF))
	if e, ok := errors.AsType[*plainjobs.RetryError](seen); !ok || e.Delay != time.Minute || !errors.Is(e.Err, io.EOF) || errors.Is(seen, plainjobs.ErrCancelled) {
		t.Errorf("the middleware of a run that requests a retry sees %#v", seen)
	}
	run(plainjobs.Snooze(time.Hour))
	if e, ok := errors.AsType[*plainjobs.SnoozeError](seen); !ok || e.Delay != time.Hour || errors.Is(seen, plainjobs.ErrCancelled) {
		t.Errorf("the middleware of a run that snoozes sees %#v", seen)
	}
	if !errors.Is(plainjobs.Cancel(nil), plainjobs.ErrCancelled) {
		t.Error("Cancel(nil) does not match ErrCancelled")
	}
}

// A test of a handler needs no queue to see the ending that the handler requests.
func ExampleCancelError() {
	handler := func(_ context.Context, address string) error {
		return plainjobs.Cancel(fmt.Errorf("no such mailbox"))
	}
	err := handler(context.Background(), "nobody")

	var cancel *plainjobs.CancelError
	if errors.As(err, &cancel) {
		fmt.Println("cancelled because:", cancel.Err)
	}
	fmt.Println(errors.Is(err, plainjobs.ErrCancelled))
	// Output:
	// cancelled because: no such mailbox
	// true
}
