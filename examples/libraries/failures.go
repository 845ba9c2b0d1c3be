package libraries

import (
	"context"
	"errors"

	"github.com/getsentry/sentry-go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/plainjobs/plainjobs"
)

// ReportToSentry returns a function for plainjobs.Options.OnError. The last attempt is an
// error, an earlier one a warning. What a handler cancels is no failure here. The payload
// stays out of the report.
func ReportToSentry(hub *sentry.Hub) func(context.Context, *plainjobs.Info, error) {
	return func(_ context.Context, job *plainjobs.Info, err error) {
		if errors.Is(err, plainjobs.ErrCancelled) {
			return
		}
		own := hub.Clone() // runs fail at the same time
		own.WithScope(func(scope *sentry.Scope) {
			scope.SetLevel(sentry.LevelWarning)
			if job.State == plainjobs.Failed {
				scope.SetLevel(sentry.LevelError)
			}
			scope.SetTag("job", job.Name)
			scope.SetContext("job", sentry.Context{
				"id": job.ID, "attempt": job.Attempt, "max_attempts": job.MaxAttempts, "key": job.UniqueKey, "metadata": job.Metadata,
			})
			own.CaptureException(err)
		})
	}
}

// CountFailures returns a function for plainjobs.Options.OnError that counts failures by
// job, by what becomes of the job, and by kind.
func CountFailures(r prometheus.Registerer) func(context.Context, *plainjobs.Info, error) {
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "plainjobs_failures_total", Help: "Runs that failed.",
	}, []string{"job", "state", "kind"})
	r.MustRegister(failures)
	return func(_ context.Context, job *plainjobs.Info, err error) {
		failures.WithLabelValues(job.Name, job.State.String(), kind(err)).Inc()
	}
}

func kind(err error) string {
	var panicked *plainjobs.PanicError
	var undecoded *plainjobs.DecodeError
	switch {
	case errors.As(err, &panicked):
		return "panic"
	case errors.As(err, &undecoded):
		return "decode"
	case errors.Is(err, plainjobs.ErrTimeout):
		return "timeout"
	case errors.Is(err, plainjobs.ErrCancelled):
		return "cancel"
	}
	return "error"
}

// All returns a function that calls all of fs.
func All(fs ...func(context.Context, *plainjobs.Info, error)) func(context.Context, *plainjobs.Info, error) {
	return func(ctx context.Context, job *plainjobs.Info, err error) {
		for _, f := range fs {
			f(ctx, job, err)
		}
	}
}
