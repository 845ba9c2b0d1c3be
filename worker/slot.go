package worker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// slot runs one handler at a time.
func (s *session) slot() {
	for r := range s.runs {
		if s.start(r) {
			s.call(r)
		}
	}
}

// start moves a run from waiting to running, unless it was lost meanwhile.
func (s *session) start(r *run) bool {
	s.mu.Lock()
	s.waiting--
	s.bytes -= len(r.job.Payload)
	s.taken++
	lost := r.state == runLost
	if !lost {
		s.running++
		r.state = runRuns
		r.ctx, r.cancel = context.WithCancelCause(s.handlers)
	}
	s.mu.Unlock()
	s.nudge()
	if lost {
		s.forget(r)
	}
	return !lost
}

// nudge makes fetch look at the demand again.
func (s *session) nudge() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *session) call(r *run) {
	begin := time.Now()
	ctx := engine.WithInfo(r.ctx, s.queue, &r.job)
	engine.Call(ctx, s.queue.Handler(r.def), r.job.Payload, func(err error, exits bool) {
		if exits { // this goroutine ends here, and another takes its place
			s.slots.Go(s.slot)
		}
		s.returned(r, err, time.Since(begin))
	})
}

// returned takes note that a handler is done and has its result stored.
func (s *session) returned(r *run, err error, took time.Duration) {
	interrupted := errors.Is(context.Cause(r.ctx), plainjobs.ErrStopped)
	s.mu.Lock()
	s.running--
	s.rouseFetch()
	if s.average == 0 {
		s.average = max(took, 1)
	} else {
		s.average = max(s.average+(took-s.average)/8, 1)
	}
	lost := r.state == runLost
	if !lost {
		r.state = runSettles
	}
	s.mu.Unlock()
	r.cancel(nil)
	s.nudge()
	if lost {
		s.forget(r)
		return
	}
	var failure *backend.Failure
	if err != nil {
		f := engine.Judge(r.def, &r.job, err, interrupted)
		failure = &f
	}
	s.report(r, failure, took)
	s.settler.add(r, failure)
}

// report logs how a run ended: its name, number, attempt and time, and the
// first line of its error, never its payload.
func (s *session) report(r *run, f *backend.Failure, took time.Duration) {
	level, message := slog.LevelDebug, "plainjobs: done"
	if f != nil {
		switch f.Ending {
		case backend.EndRetry:
			level, message = slog.LevelWarn, "plainjobs: failed, will be retried"
		case backend.EndFailed:
			level, message = slog.LevelError, "plainjobs: failed for good"
		case backend.EndCancelled:
			level, message = slog.LevelWarn, "plainjobs: cancelled"
		case backend.EndSnooze:
			message = "plainjobs: snoozed"
		case backend.EndRelease:
			level, message = slog.LevelInfo, "plainjobs: interrupted, handed back"
		}
	}
	if !s.opts.Logger.Enabled(s.handlers, level) {
		return
	}
	a := append(attrs(r), slog.Duration("took", took))
	if f != nil && f.Error != "" {
		a = append(a, slog.String("error", firstLine(f.Error)))
	}
	if f != nil && f.Delay > 0 {
		a = append(a, slog.Duration("in", f.Delay))
	}
	s.opts.Logger.Log(s.handlers, level, message, a...)
}

func firstLine(text string) string {
	line, _, cut := strings.Cut(text, "\n")
	if len(line) > 200 {
		line, cut = line[:200], true
	}
	if cut {
		line += " …"
	}
	return strings.ToValidUTF8(line, "?")
}
