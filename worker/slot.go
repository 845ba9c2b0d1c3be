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
	id := goroutineID()
	for r := s.next(outcome{}, id); r != nil; {
		r = s.next(s.call(r), id)
	}
}

// outcome is how a run ended; the zero value is none.
type outcome struct {
	run     *run
	failure *backend.Failure // nil: it went well
	took    time.Duration
	idle    bool // the handler was not called
	settled bool // by the handler's own transaction
}

// next has the end of a slot's last run stored and returns the run for it to
// make next, or nil when there are to be no more.
func (s *session) next(last outcome, slot int64) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finish(last)
	for {
		for len(s.runs) == 0 {
			if s.closed {
				return nil
			}
			s.idle++
			s.work.Wait()
			s.idle--
		}
		r := s.runs[0]
		s.runs[0] = nil
		s.runs = s.runs[1:]
		s.bytes -= len(r.job.Payload)
		s.startCount++
		if r.state == runLost {
			s.freeConcurrency(r)
			s.removeRun(r)
			s.wakeIfDemand()
			continue
		}
		s.running++
		r.state, r.running, r.slot = runRuns, true, slot
		r.ctx.Start(s.handlers, s.queue, r.job)
		s.wakeIfDemand()
		return r
	}
}

// finish takes note that a handler is done and has its result stored. The
// caller holds mu.
func (s *session) finish(e outcome) {
	if e.run == nil {
		return
	}
	s.running--
	e.run.running = false
	s.freeConcurrency(e.run)
	s.wakeFetch()
	switch {
	case e.idle:
	case s.average == 0:
		s.average = max(e.took, 1)
	default:
		s.average = max(s.average+(e.took-s.average)/8, 1)
	}
	lost := e.run.state == runLost
	if !lost {
		e.run.state = runSettles
	}
	s.wakeIfDemand()
	if lost {
		s.removeRun(e.run)
		return
	}
	if e.settled {
		s.removeRun(e.run)
		return
	}
	s.settler.wait(e.failure)
	e.run.took = e.took
	s.settler.append(e.run, e.failure)
}

// wakeForDemand makes fetch look at the demand again.
func (s *session) wakeForDemand() {
	select {
	case s.demandChanged <- struct{}{}:
	default:
	}
}

// wakeIfDemand is nudge where the demand has grown to a claim's worth and
// fetch waits for that. The caller holds mu.
func (s *session) wakeIfDemand() {
	if s.fetchWaiting && s.wanted(false) > 0 {
		s.fetchWaiting = false
		s.wakeForDemand()
	}
}

// call runs a handler and returns how it ended. If the handler ends its
// goroutine, call does not return, and another slot takes this one's place.
func (s *session) call(r *run) (e outcome) {
	begin := r.ctx.Info.Began
	if why := r.refusal(begin); why != "" {
		f := backend.Failure{Lease: r.job.Lease, Ending: backend.EndCancelled, Error: why}
		e = outcome{run: r, failure: &f, idle: true}
		s.logOutcome(e, errors.New(why))
		return e
	}
	if limit := r.def.Timeout; limit > 0 {
		r.ctx.Limit(begin.Add(limit), plainjobs.ErrTimeout)
		defer s.reportIfStuck(r, limit+stuckAfter).Stop()
	}
	r.ctx.Info.Progress = r
	if s.queue.Events.Wanted() {
		s.emit(engine.Event{Kind: engine.Started, Job: r.job, Began: begin})
	}
	engine.Call(&r.ctx, s.queue.Handler(r.def), r.job.Payload, func(err error, exits bool) {
		e = s.outcomeOf(r, err, time.Since(begin))
		if exits {
			s.slots.Go(s.slot)
			s.mu.Lock()
			s.finish(e)
			s.mu.Unlock()
		}
	})
	return e
}

// refusal returns why a run is not to be started, or nothing.
func (r *run) refusal(now time.Time) string {
	switch {
	case r.cancelled.Load():
		return backend.CancelledError
	case !r.expires.IsZero() && now.After(r.expires):
		return backend.ExpiredError
	}
	return ""
}

// timeToStart returns how long a run that is handed back unstarted may still be
// started, or zero if for ever.
func (r *run) timeToStart(now time.Time) time.Duration {
	if r.expires.IsZero() {
		return 0
	}
	return max(r.expires.Sub(now), time.Microsecond)
}

// errNotCommitted is what a run fails with that completed its job in a
// transaction that was not committed.
var errNotCommitted = errors.New("the transaction in which the handler completed the job was not committed")

// outcomeOf says how a run ended that returned err, and ends its context.
func (s *session) outcomeOf(r *run, err error, took time.Duration) outcome {
	e := outcome{run: r, took: took}
	if r.ctx.Info.InTx.Load() {
		if e.settled = s.committed(r); e.settled {
			err = nil
		} else {
			err = errors.Join(errNotCommitted, err)
		}
	}
	if err != nil {
		interrupted := errors.Is(context.Cause(&r.ctx), plainjobs.ErrStopped)
		f := engine.FailureOf(r.def, r.job, err, interrupted)
		if r.cancelled.Load() { // whatever else the handler made of it
			f.Ending, f.Delay = backend.EndCancelled, 0
		}
		e.failure = &f
	}
	r.ctx.End(nil)
	s.logOutcome(e, err)
	return e
}

// committed reports whether the job was completed by its handler's own
// transaction, which is over. If the store does not tell, it is not known to
// be, and failing the run changes nothing if it was.
func (s *session) committed(r *run) bool {
	reader, ok := s.store.(backend.Reader)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.handlers), s.opts.Lease/3)
	defer cancel()
	info, err := reader.Get(ctx, r.job.ID)
	return err == nil && info.State == backend.Done || errors.Is(err, backend.ErrNotFound)
}

// eventKinds are the events by what runs end with.
var eventKinds = map[backend.Ending]engine.EventKind{
	backend.EndRetry: engine.Retried, backend.EndSnooze: engine.Snoozed, backend.EndRelease: engine.Released,
	backend.EndFailed: engine.Failed, backend.EndCancelled: engine.Cancelled,
}

// logOutcome logs how a run ended: its name, number, attempt and time, and the
// first line of its error, never its payload. It tells subscribers too.
func (s *session) logOutcome(e outcome, err error) {
	r, f := e.run, e.failure
	if s.queue.Events.Wanted() && !s.isLost(r) {
		event := engine.Event{Kind: engine.Done, Job: r.job, Err: err, Took: e.took, Failure: f}
		if f != nil {
			event.Kind, event.In = eventKinds[f.Ending], f.Delay
		} else {
			event.Result = r.ctx.Info.Result
		}
		if !e.idle {
			event.Began = r.ctx.Info.Began
		}
		s.emit(event)
	}
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
	if !s.opts.Logger.Enabled(s.handlers, level) || s.isLost(r) {
		return
	}
	a := append(attrs(r), slog.Duration("took", e.took))
	if f != nil && f.Error != "" {
		a = append(a, slog.String("error", firstLine(f.Error)))
	}
	if where := engine.PanicAt(err); where != "" {
		a = append(a, slog.String("at", where))
	}
	if f != nil && f.Delay > 0 {
		a = append(a, slog.Duration("in", f.Delay))
	}
	s.opts.Logger.Log(s.handlers, level, message, a...)
}

func (s *session) isLost(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.state == runLost
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
