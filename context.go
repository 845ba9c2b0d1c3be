package plainjobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

var defaultQueue atomic.Pointer[Queue]

// SetDefault makes q the queue of the package's [Perform]; nil removes it.
func SetDefault(q *Queue) { defaultQueue.Store(q) }

// Perform stores a task in the context's queue (see [NewContext]; a handler's
// context has the queue of its job) or else in the default one (see
// [SetDefault]).
//
// With neither, under go test, it runs the job at once, on nothing but memory,
// through the same encoding, decoding, middleware and capture of panics, and
// returns the run's error. Only a job with a handler of its definition can; a
// task for later is not run. Otherwise it returns [ErrNoQueue].
func Perform(ctx context.Context, task Task) (int64, error) {
	q := queueOf(ctx)
	if q == nil {
		q = defaultQueue.Load()
	}
	if q == nil {
		q = inlineQueue()
	}
	if q == nil {
		return 0, fmt.Errorf("plainjobs: perform %s: %w", task.name(), ErrNoQueue)
	}
	return q.Perform(ctx, task)
}

func queueOf(ctx context.Context) *Queue {
	q, _ := ctx.Value(engine.QueueKey{}).(*Queue)
	return q
}

// NewContext returns a context in which [Perform] uses q.
func NewContext(ctx context.Context, q *Queue) context.Context {
	return context.WithValue(ctx, engine.QueueKey{}, q)
}

// FromContext returns what is known of the job that a handler was called for,
// see [Info], and false if ctx is not a handler's.
func FromContext(ctx context.Context) (Info, bool) {
	i := engine.InfoOf(ctx)
	if i == nil {
		return Info{}, false
	}
	info := infoOfRun(i.Job)
	info.StartedAt = instantOf(i.Began)
	return info, true
}

// Logger returns the queue's logger, which adds the job's name, ID and attempt
// to what a handler logs. Outside of a handler it is slog.Default().
func Logger(ctx context.Context) *slog.Logger {
	i := engine.InfoOf(ctx)
	if i == nil {
		return slog.Default()
	}
	return i.Queue.Log().With(slog.String("job", i.Job.Name), slog.Int64("id", i.Job.ID), slog.Int("attempt", i.Job.Attempt))
}

// Progress stores how far a handler has come, for [Queue.Get] to show: at most
// once a second, and what is newest then. It costs the handler nothing to
// call. It does nothing outside of a handler. On a store that keeps no progress,
// see [backend.Progresser], it does nothing either, and the worker's log says so
// once for each job name.
func Progress(ctx context.Context, done, total int64) {
	if i := engine.InfoOf(ctx); i != nil && i.Progress != nil {
		i.Progress.Tell(done, total)
	}
}

// Complete completes a handler's job in the handler's transaction: its effects
// in the database and its end are committed together, or neither is, so that
// they happen once however often the job runs. The transaction is one of the
// queue's database. The error matches [ErrLeaseLost] if the job is not this
// run's any more; then roll back. A handler with a result calls
// [ResultJob.Complete].
//
// Afterwards the transaction decides: if it was committed the job is done,
// whatever the handler returns; if not, the run has failed, even if the
// handler returns nil.
func Complete(ctx context.Context, tx *sql.Tx) error { return complete(ctx, tx, nil) }

func complete(ctx context.Context, tx *sql.Tx, result []byte) error {
	i := engine.InfoOf(ctx)
	switch {
	case i == nil:
		return errors.New("plainjobs: Complete outside of a handler")
	case tx == nil:
		return errors.New("plainjobs: Complete with a nil transaction")
	}
	if d := engine.Lookup(i.Job.Name); d != nil && d.Results && result == nil {
		return fmt.Errorf("plainjobs: complete: job %s has a result, which its own Complete takes", d.Name)
	}
	b, ok := i.Queue.Backend.(backend.TxPusher)
	if !ok {
		if i.Queue.Test {
			i.Completed.Store(true)
			return nil // nobody can see the commit; the handler's error decides
		}
		return fmt.Errorf("plainjobs: complete: %w: %T cannot join a transaction", errors.ErrUnsupported, i.Queue.Backend)
	}
	if err := b.CompleteTx(ctx, tx, backend.Completion{Lease: i.Job.Lease, Result: result}); err != nil {
		return fmt.Errorf("plainjobs: complete: %w", err)
	}
	i.InTx.Store(true)
	return nil
}
