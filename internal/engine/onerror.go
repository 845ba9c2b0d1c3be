package engine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/plainjobs/plainjobs/backend"
)

// An ErrorFunc gets the end of a run that failed, and the run's context, which does not end.
type ErrorFunc func(ctx context.Context, e Event)

// ReportsError reports whether the queue or the job has a function for a run that ended
// with f: one that its handler neither postponed nor left to a shutdown.
func (q *Queue) ReportsError(d *Definition, f *backend.Failure) bool {
	if f == nil || q.OnError == nil && d.OnError == nil {
		return false
	}
	return f.Ending == backend.EndRetry || f.Ending == backend.EndFailed || f.Ending == backend.EndCancelled
}

// ReportError calls the functions of the job, and then the queue's.
func (q *Queue) ReportError(ctx context.Context, d *Definition, e Event) {
	ctx = context.WithoutCancel(ctx)
	for _, f := range d.OnError {
		q.reportError(ctx, f, e)
	}
	if q.OnError != nil {
		q.reportError(ctx, q.OnError, e)
	}
}

func (q *Queue) reportError(ctx context.Context, f ErrorFunc, e Event) {
	defer func() {
		if v := recover(); v != nil {
			q.Log().Error("plainjobs: OnError panicked", slog.String("job", e.Job.Name), slog.Int64("id", e.Job.ID),
				slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(PlainStack(debug.Stack()))))
		}
	}()
	f(ctx, e)
}
