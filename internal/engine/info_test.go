package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A handler's context is one like any other, whenever it is first looked at.
func TestContext(t *testing.T) {
	type key struct{}
	cause := errors.New("cause")
	queue := NewHandle()
	began := func(parent context.Context) *Context {
		return WithInfo(context.WithValue(parent, key{}, "value"), queue.Queue(), &backend.Job{Name: "job"})
	}
	ended := func(t *testing.T, ctx context.Context, err, cause error) {
		t.Helper()
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("the context does not end")
		}
		if ctx.Err() != err || context.Cause(ctx) != cause { //nolint:errorlint // these very ones
			t.Errorf("it ended with %v by %v, want %v by %v", ctx.Err(), context.Cause(ctx), err, cause)
		}
	}
	goesOn := func(t *testing.T, ctx context.Context) {
		t.Helper()
		if ctx.Err() != nil || context.Cause(ctx) != nil {
			t.Errorf("it has ended with %v by %v", ctx.Err(), context.Cause(ctx))
		}
	}
	t.Run("values", func(t *testing.T) {
		c := began(t.Context())
		info, _ := c.Value(InfoKey{}).(*Info)
		if info == nil || info.Job.Name != "job" || c.Value(QueueKey{}) != queue || c.whole != nil {
			t.Error("it does not know its job, or made more of itself to tell")
		}
		if c.Value(key{}) != "value" || c.Value("nothing") != nil {
			t.Error("it does not have its parent's values")
		}
	})
	t.Run("ends", func(t *testing.T) {
		c := began(t.Context())
		child, cancel := context.WithCancel(c)
		defer cancel()
		goesOn(t, c)
		goesOn(t, child)
		c.End(cause)
		c.End(errors.New("another"))
		ended(t, c, context.Canceled, cause)
		ended(t, child, context.Canceled, cause)
	})
	t.Run("was never looked at", func(t *testing.T) {
		c := began(t.Context())
		c.End(cause)
		c.End(nil)
		ended(t, c, context.Canceled, cause)
	})
	t.Run("ends well", func(t *testing.T) {
		c := began(t.Context())
		c.End(nil)
		ended(t, c, context.Canceled, context.Canceled)
	})
	t.Run("with its parent", func(t *testing.T) {
		parent, cancel := context.WithCancelCause(t.Context())
		early, late := began(parent), began(parent)
		goesOn(t, early)
		cancel(cause)
		ended(t, early, context.Canceled, cause)
		ended(t, late, context.Canceled, cause)
	})
	t.Run("deadline", func(t *testing.T) {
		parent, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		want, _ := parent.Deadline()
		if at, ok := began(parent).Deadline(); !ok || at != want {
			t.Errorf("its deadline is %v, want %v", at, want)
		}
	})
	t.Run("at once", func(t *testing.T) {
		c := began(t.Context())
		go c.End(cause)
		ended(t, c, context.Canceled, cause)
	})
}
