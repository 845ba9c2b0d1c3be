package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// slots run the handlers of claimed runs, each of them one at a time.
type slots struct {
	*setup
	dispatcher *dispatcher
	progress   *progress
	reporter   *reporter

	wg       sync.WaitGroup
	awaiting atomic.Int64 // runs whose handlers wait for other jobs
}

// start starts a slot. Its last run, if it has one, was that of a slot whose goroutine
// the handler has ended.
func (s *slots) start(last outcome) {
	s.wg.Go(func() {
		id := goroutineID()
		for r := s.dispatcher.next(last, id); r != nil; {
			r = s.dispatcher.next(s.call(r), id)
		}
	})
}

// An outcome is how a run ended. The zero value is none.
type outcome struct {
	run       *run
	failure   *backend.Failure // nil if the job is done
	took      time.Duration
	unstarted bool // the handler was not called
	settled   bool // by the handler's own transaction
}

// call runs a handler and returns how it ended. If the handler ends its goroutine, call
// does not return, and another slot replaces this one.
func (s *slots) call(r *run) (e outcome) {
	begin := r.ctx.Info.Began
	if why := r.refusal(begin); why != "" {
		f := backend.Failure{Lease: r.job.Lease, Ending: backend.EndCancelled, Error: why}
		e = outcome{run: r, failure: &f, unstarted: true}
		s.reporter.ended(e, errors.New(why))
		return e
	}
	if limit := r.def.Timeout; limit > 0 {
		r.ctx.Limit(begin.Add(limit), plainjobs.ErrTimeout)
		defer s.reporter.reportIfStuck(r, limit+stuckAfter).Stop()
	}
	if s.queue.Events.Wanted() {
		s.reporter.emit(engine.Event{Kind: engine.Started, Job: r.job, Began: begin})
	}
	engine.Call(&r.ctx, s.queue.Handler(r.def), r.job.Payload, func(err error, exits bool) {
		e = s.outcomeOf(r, err, time.Since(begin))
		if exits {
			s.start(e)
		}
	})
	return e
}

// errNotCommitted is the error of a run that completed its job in a transaction that was
// not committed.
var errNotCommitted = errors.New("the transaction in which the handler completed the job was not committed")

// outcomeOf returns how a run ended whose handler returned err, and ends its context.
func (s *slots) outcomeOf(r *run, err error, took time.Duration) outcome {
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
		f.Result, f.Worker = r.ctx.Info.Result, s.self
		if took >= storeStartAfter {
			f.Took = took
		}
		if r.cancelled.Load() { // whatever error the handler returned
			f.Ending, f.Delay = backend.EndCancelled, 0
		}
		s.queue.EncryptFailure(r.job.Name, err, &f)
		e.failure = &f
	}
	if s.queue.ReportsError(r.def, e.failure) && !r.cancelled.Load() && !r.isLost() {
		event := eventOf(e, err)
		event.Job = r.ctx.Info.Job // with its payload decrypted
		s.queue.ReportError(&r.ctx, r.def, event)
	}
	r.ctx.End(nil)
	s.reporter.ended(e, err)
	return e
}

// committed reports whether the job was completed by its handler's own transaction, which
// has ended. If the store cannot tell, committed returns false: failing the run changes
// nothing if the job is done.
func (s *slots) committed(r *run) bool {
	reader, ok := s.store.(backend.Reader)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.handlers), s.opts.Lease/3)
	defer cancel()
	info, err := reader.Get(ctx, r.job.ID)
	return err == nil && info.State == backend.Done || errors.Is(err, backend.ErrNotFound)
}

// close lets the running handlers end, after the grace if there is to be one. It reports
// whether they have ended, and when Run has to return at the latest.
func (s *slots) close(grace bool, stop context.CancelCauseFunc) (ended bool, end time.Time) {
	end = time.Now().Add(stopBound)
	s.dispatcher.close()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	if grace && s.opts.Grace > 0 {
		end = end.Add(s.opts.Grace)
		timer := time.NewTimer(s.opts.Grace)
		defer timer.Stop()
		select {
		case <-done:
			return true, end
		case <-s.opts.ReleaseNow:
			end = time.Now().Add(stopBound)
		case <-timer.C:
		}
	}
	stop(plainjobs.ErrStopped)
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-done:
		return true, end
	case <-timer.C:
		return false, end
	}
}
