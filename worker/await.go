package worker

import (
	"log/slog"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

var _ engine.ProgressReporter = (*run)(nil)

// Report implements [engine.ProgressReporter].
func (r *run) Report(done, total int64) {
	r.slots.progress.report(r, progressValue{done, total})
}

// Await implements [engine.ProgressReporter].
func (r *run) Await() (warn func(*backend.Info, time.Duration), done func()) {
	s := r.slots
	if r.awaits.Add(1) == 1 {
		s.awaiting.Add(1)
	}
	s.dispatcher.suspects.awaits(r)
	warn = func(awaited *backend.Info, waited time.Duration) {
		text := "plainjobs: a handler awaits a job that has not started, and keeps its slot meanwhile"
		if s.awaiting.Load() >= int64(s.opts.Concurrency) {
			text = "plainjobs: the handlers in all slots of this worker await other jobs, so it starts none: let another worker run the " +
				"awaited jobs (Options.Jobs), or return Snooze instead of waiting"
		}
		s.opts.Logger.Warn(text, append(attrs(r), slog.String("awaited_job", awaited.Name), slog.Int64("awaited_id", awaited.ID),
			slog.String("state", awaited.State.String()), slog.Int("slots", s.opts.Concurrency), slog.Duration("waited", waited))...)
	}
	done = func() {
		if r.awaits.Add(-1) == 0 {
			s.awaiting.Add(-1)
		}
	}
	return warn, done
}
