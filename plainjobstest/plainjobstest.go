// Package plainjobstest helps to test code that performs jobs.
//
// A test does not need the package if plainjobs.Perform may run each job at once, which it
// does under go test without a queue. [Inline] returns a queue that also runs jobs at once.
// The test can bind other handlers to it and inspect the performed tasks. [Memory] returns
// a queue that stores jobs and runs none until [Drain].
//
//	func TestSignUp(t *testing.T) {
//		ctx, queue := plainjobstest.Memory(t)
//		plainjobs.Handle(queue, jobs.Welcome, service.SendWelcome)
//		if err := service.SignUp(ctx, ada); err != nil {
//			t.Fatal(err)
//		}
//		plainjobstest.RequireEnqueued(t, queue, jobs.Welcome, ada)
//		plainjobstest.Drain(t, queue)
//	}
//
// [Context] returns the context of a run, for a test that calls a handler as a function.
//
// [Torture] runs every handler twice, as after a crash, which shows handlers that are not
// idempotent. [Tick] performs the job of one tick; these queues have no ticks of their own.
//
// Each queue belongs to one test, which passes it on in the context, so parallel tests do
// not affect each other. The queues work in a bubble of testing/synctest, where a test can
// wait for a day without delay.
package plainjobstest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// An Option changes the queue of a test.
type Option func(*config)

type config struct {
	queue   plainjobs.Options
	clock   func() time.Time
	torture bool
}

// Queue sets the queue's options, its middleware for instance.
func Queue(opts plainjobs.Options) Option { return func(c *config) { c.queue = opts } }

// Torture runs the handler of each job twice, with its middleware, as happens to
// one whose worker dies after the handler returned and before that was stored:
// what the second time does wrong, or finds done already, the test shows. Only
// the second run's result counts; a first run that fails counts like any other.
func Torture() Option { return func(c *config) { c.torture = true } }

// WithClock sets the clock of a queue of [Memory], also for what At and Before
// mean.
func WithClock(clock *Clock) Option {
	if clock == nil {
		panic("plainjobstest: WithClock(nil): make one with NewClock")
	}
	return func(c *config) { c.clock = clock.Now }
}

// Inline returns a queue that runs a job when it is performed, and a context in
// which plainjobs.Perform uses it. Perform returns the run's error. Tasks for
// later, and those performed in a transaction, whose commit the queue cannot
// see, are kept for [Drain]. A serial key holds among those, which run one by
// one; a job that runs when it is performed waits for no other. Handlers see the
// values of their own run's context, not those of the caller's, as under a
// worker.
func Inline(tb testing.TB, opts ...Option) (context.Context, *plainjobs.Queue) {
	tb.Helper()
	store := &engine.Inline{Keep: true}
	ctx, q := open(tb, store, opts)
	store.Queue = (*engine.Handle)(q).Queue()
	return ctx, q
}

// Memory returns a queue that keeps jobs in memory, as a real one would, and a
// context in which plainjobs.Perform uses it. [Drain] runs the jobs, or a
// worker of the test's own. Tasks performed in a transaction are there at once,
// as the queue cannot see the commit.
func Memory(tb testing.TB, opts ...Option) (context.Context, *plainjobs.Queue) {
	tb.Helper()
	c := configOf(opts)
	return open(tb, memory.New(&memory.Options{Clock: c.clock}), opts)
}

func configOf(opts []Option) (c config) {
	for _, opt := range opts {
		opt(&c)
	}
	if c.queue.Logger == nil {
		c.queue.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func open(tb testing.TB, store backend.Backend, opts []Option) (context.Context, *plainjobs.Queue) {
	tb.Helper()
	c := configOf(opts)
	q := plainjobs.New(store, &c.queue)
	e := (*engine.Handle)(q).Queue()
	e.Test, e.RunTwice, e.Clock = true, c.torture, c.clock
	tb.Cleanup(func() {
		if err := q.Close(); err != nil {
			tb.Errorf("plainjobstest: close: %v", err)
		}
	})
	return plainjobs.NewContext(tb.Context(), q), q
}

// A Clock is a clock that stands still until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows a time.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now returns what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock, forward or back.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
