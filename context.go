package plainjobs

import (
	"context"
	"log/slog"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// NewContext returns a context in which [Perform] uses q.
func NewContext(ctx context.Context, q *Queue) context.Context {
	return context.WithValue(ctx, engine.QueueKey{}, (*engine.Handle)(q))
}

// FromContext returns the [Info] of the job that a handler runs, and false if ctx is not
// a handler's.
func FromContext(ctx context.Context) (Info, bool) {
	i := engine.InfoOf(ctx)
	if i == nil {
		return Info{}, false
	}
	info := infoOfRun(i.Job)
	info.StartedAt = instantOf(i.Began)
	return info, true
}

// Logger returns the queue's logger with the job's name, ID and attempt; in a batch, those of
// its first job and the number of its jobs. With Options.StoreLogs what it logs is also stored
// with the job. Outside a
// handler it returns slog.Default().
func Logger(ctx context.Context) *slog.Logger {
	i := engine.InfoOf(ctx)
	if i == nil {
		return slog.Default()
	}
	log := i.Queue.Log().With(slog.String("job", i.Job.Name), slog.Int64("id", i.Job.ID), slog.Int("attempt", i.Job.Attempt))
	if b := engine.BatchOf(ctx); b != nil {
		log = log.With(slog.Int("batch", b.Len()))
	}
	if i.Queue.StoreLogs == nil {
		return log
	}
	if k, ok := i.Progress.(engine.LogKeeper); ok {
		if stored := k.LogHandler(); stored != nil {
			return slog.New(engine.Tee(log.Handler(), stored))
		}
	}
	return log
}

// Progress stores how far a handler has come, for [Queue.Get]: at most once a second,
// and only the latest values. A call returns at once. Outside a handler it does nothing.
// On a store that keeps no progress, see [backend.Heartbeater], it does nothing, and the
// worker logs that once for each job name.
func Progress(ctx context.Context, done, total int64) {
	if i := engine.InfoOf(ctx); i != nil && i.Progress != nil {
		i.Progress.Report(done, total)
	}
}
