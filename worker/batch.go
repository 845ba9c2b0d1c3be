package worker

import (
	"errors"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A batch is several runs for which a handler is called once. The contexts of the runs do not
// reach the handler: its context ends when all of them have ended.
type batch struct {
	runs []*run // that the handler has, or might have
	ctx  engine.Context

	errs []error // by run: why the handler does not get it

	mu    sync.Mutex
	total int           // runs
	over  map[*run]bool // runs whose contexts have ended
}

var _ engine.Batch = (*batch)(nil)

// Len implements [engine.Batch].
func (b *batch) Len() int { return len(b.runs) }

// ID implements [engine.Batch].
func (b *batch) ID(i int) int64 { return b.runs[i].job.ID }

// Payload implements [engine.Batch].
func (b *batch) Payload(i int) ([]byte, error) { return b.runs[i].ctx.Info.Decrypt() }

// Fail implements [engine.Batch].
func (b *batch) Fail(i int, err error) { b.errs[i] = err }

// Report implements [engine.ProgressReporter]: what the handler reports is said of all jobs.
func (b *batch) Report(done, total int64) {
	for _, r := range b.runs {
		r.Report(done, total)
	}
}

// Await implements [engine.ProgressReporter].
func (b *batch) Await() (warn func(*backend.Info, time.Duration), done func()) {
	return b.runs[0].Await()
}

// end notes that the context of a run has ended, and reports whether that ends the handler's:
// it has ended for all runs.
func (b *batch) end(r *run, cause error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over == nil {
		b.over = map[*run]bool{}
	}
	if b.over[r] = true; len(b.over) < b.total {
		return false
	}
	b.ctx.End(cause)
	return true
}

// end ends the context of a run that has started, and reports whether that ends its handler's.
func (r *run) end(cause error) bool {
	r.ctx.End(cause)
	if b, ok := r.ctx.Info.Progress.(*batch); ok {
		return b.end(r, cause)
	}
	return true
}

// startBatches starts a slot for batches. last are the outcomes of a slot whose goroutine the
// handler has ended.
func (s *slots) startBatches(last []outcome) {
	s.wg.Go(func() {
		id := goroutineID()
		for b := s.dispatcher.nextBatch(last, id); b != nil; {
			b = s.dispatcher.nextBatch(s.callBatch(b), id)
		}
	})
}

// callBatch calls the handler for the runs of a batch that may start, and returns how all of
// them ended.
func (s *slots) callBatch(b *batch) (all []outcome) {
	first := b.runs[0]
	begin := first.ctx.Info.Began
	var run []*run
	for _, r := range b.runs {
		if why := r.refusal(begin); why != "" {
			f := backend.Failure{Lease: r.job.Lease, Ending: backend.EndCancelled, Error: why}
			e := outcome{run: r, failure: &f, unstarted: true}
			s.reporter.ended(e, errors.New(why))
			all = append(all, e)
			b.end(r, plainjobs.ErrCancelled)
			continue
		}
		if run = append(run, r); s.queue.Events.Wanted() {
			s.reporter.emit(engine.Event{Kind: engine.Started, Job: r.job, Began: begin})
		}
	}
	if len(run) == 0 {
		return all
	}
	b.runs, b.errs = run, make([]error, len(run))
	first = run[0]
	b.ctx.Start(s.handlers, s.queue, first.job)
	b.ctx.Info.Progress = b
	if limit := first.def.Timeout; limit > 0 {
		b.ctx.Limit(begin.Add(limit), plainjobs.ErrTimeout)
		defer s.reporter.reportIfStuck(first, limit+stuckAfter).Stop()
	}
	engine.Call(&b.ctx, s.queue.Handler(first.def), first.job.Payload, func(err error, exits bool) {
		all = append(all, s.outcomesOf(b, err, time.Since(begin))...)
		b.ctx.End(nil)
		if exits {
			s.startBatches(all)
		}
	})
	return all
}

// outcomesOf returns how the runs of a batch ended whose handler returned err.
func (s *slots) outcomesOf(b *batch, err error, took time.Duration) (all []outcome) {
	given := 0
	for _, e := range b.errs {
		if e == nil {
			given++
		}
	}
	errs := engine.Errors(err, given)
	for i, r := range b.runs {
		e := b.errs[i]
		if e == nil {
			e, errs = errs[0], errs[1:]
		}
		all = append(all, s.outcomeOf(r, e, took))
	}
	return all
}

// nextBatch ends the last runs of a slot and returns the next batch for it, or nil if there
// will be none.
func (d *dispatcher) nextBatch(last []outcome, slot int64) *batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(last) > 0 {
		d.running--
		for _, e := range last {
			d.ended(e)
		}
		d.wakeIfDemand()
	}
	for {
		if !d.gather() {
			return nil
		}
		var runs []*run
		for len(runs) < d.batch && !d.waiting.empty() && (len(runs) == 0 || d.joins(runs[0], d.waiting.runs[0])) {
			r := d.waiting.pop()
			d.started++
			runs = append(runs, r)
		}
		b := &batch{runs: runs[:0], total: len(runs)}
		for _, r := range runs {
			if r.start(d.handlers, d.queue, slot, b) {
				b.runs = append(b.runs, r)
				continue
			}
			b.end(r, plainjobs.ErrLeaseLost)
			d.limits.free(r)
			d.drop(r)
		}
		if len(b.runs) > 0 {
			d.running++
			d.wakeIfDemand()
			return b
		}
		d.wakeIfDemand()
	}
}

// joins reports whether r may run together with the first run of a batch. A suspect runs
// alone, and so do jobs with serial keys, which do not depend on each other otherwise.
func (d *dispatcher) joins(first, r *run) bool {
	return !first.job.Suspect && !r.job.Suspect && first.job.SerialKey == "" && r.job.SerialKey == "" && first.def == r.def
}

// gather waits until there are runs: as many as a batch has, or some after the job's Linger. It
// returns false if there will be none. The caller holds mu.
func (d *dispatcher) gather() bool {
	for d.waiting.empty() {
		if d.closed {
			return false
		}
		d.idle++
		d.work.Wait()
		d.idle--
	}
	if d.linger == 0 || d.waiting.len() >= d.batch || d.waiting.runs[0].job.Suspect {
		return true
	}
	until := time.Now().Add(d.linger)
	timer := time.AfterFunc(d.linger, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.work.Broadcast()
	})
	defer timer.Stop()
	d.lingering++
	for !d.closed && d.waiting.len() < d.batch && time.Now().Before(until) {
		d.work.Wait()
	}
	d.lingering--
	return !d.waiting.empty() || d.gather()
}
