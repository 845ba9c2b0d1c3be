package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A settler stores how runs ended. The ends that come while it writes are the next
// batch: there is no timer, and an idle settler writes at once.
//
// When the store refuses a batch, the settler tries a smaller part of it, and a larger
// one after each success, so that it stores all that the store accepts. An end that is
// refused alone is set apart and delays no other.
//
// Its fields belong to the goroutine of loop.
type settler struct {
	*setup
	unsettled  *unsettled
	dispatcher *dispatcher
	progress   *progress
	reporter   *reporter
	heartbeats *heartbeats

	done chan struct{} // closed when loop has returned

	ready       []entry
	apart       []*apart
	over        []*run // stored or given up, to be dropped
	size        int    // of the next batch, at most
	pause       *backoff
	completions []backend.Completion // reused
}

// loop stores what comes until unsettled is closed.
func (t *settler) loop() {
	defer close(t.done)
	defer t.unsettled.quit()
	defer context.AfterFunc(t.unsettled.giveUp, t.unsettled.wake)()
	for {
		came, more := t.collect()
		if !more {
			return
		}
		t.progress.storeLast(t.unsettled.giveUp, came)
		t.retry()
		t.settle()
	}
}

// collect drops the runs that are over and waits until there is something to do. It
// returns the ends that came, and false if all is stored or given up.
func (t *settler) collect() (came []entry, more bool) {
	t.dispatcher.settled(t.over)
	clear(t.over)
	t.over = t.over[:0]
	if came, more = t.take(); !more {
		return nil, false
	}
	if len(t.ready) > 0 {
		t.dispatcher.demand.settleSoon()
	}
	return came, true
}

// take moves the ends in unsettled to ready. If there are none it waits, unless it has
// other work.
func (t *settler) take() (came []entry, more bool) {
	u := t.unsettled
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		before := len(t.ready)
		if before == 0 {
			t.ready, u.entries = u.entries, t.ready
		} else {
			t.ready = append(t.ready, u.entries...)
			clear(u.entries)
			u.entries = u.entries[:0]
		}
		u.taken = len(t.ready) + len(t.apart)
		u.stored.Broadcast()
		switch {
		case len(t.ready) > 0 || t.due():
			return t.ready[before:], true
		case u.closing && len(t.apart) == 0:
			return nil, false
		}
		var timer *time.Timer
		if len(t.apart) > 0 {
			timer = time.AfterFunc(time.Until(t.apart[0].next), u.wake)
		}
		u.added.Wait()
		if timer != nil {
			timer.Stop()
		}
	}
}

// settle stores what is ready, or a part of it.
func (t *settler) settle() {
	n := min(t.size, len(t.ready))
	if n == 0 {
		return
	}
	left, err := t.storeBatch(t.ready[:n])
	for _, e := range t.ready[:n] {
		if !slices.ContainsFunc(left, func(l entry) bool { return l.run == e.run }) {
			t.over = append(t.over, e.run)
		}
	}
	if err == nil {
		t.pause.reset()
		t.size = min(2*t.size, maxUnsettled)
		t.ready = t.ready[:copy(t.ready, t.ready[n:])]
		return
	}
	t.ready = t.ready[:copy(t.ready, t.ready[n:])]
	t.size = max(1, len(left)/2)
	if n > 1 {
		t.ready = append(t.ready, left...) // after the others
	} else {
		t.setApart(left[0], err)
	}
	t.pause.wait(t.unsettled.giveUp)
}

// storeBatch stores a batch. It returns the entries to try again and the store's error.
// A run whose end is never stored keeps its lease, and its job runs again in the end.
func (t *settler) storeBatch(batch []entry) (left []entry, err error) {
	completions := t.completions[:0]
	var failures []backend.Failure
	for _, e := range batch {
		if e.failure == nil {
			completions = append(completions, backend.Completion{Lease: e.run.job.Lease, Result: e.run.ctx.Info.Result, Took: e.run.storedTook()})
		} else {
			f := *e.failure
			f.Took = e.run.storedTook()
			failures = append(failures, f)
		}
	}
	t.completions = completions
	var completed, failed error
	complete := func() {
		completed = t.write("store that jobs are done", func(ctx context.Context) ([]backend.Lease, error) { return t.store.Complete(ctx, completions) })
	}
	fail := func() {
		failed = t.write("store that jobs failed or are released", func(ctx context.Context) ([]backend.Lease, error) { return t.store.Fail(ctx, failures) })
	}
	switch {
	case len(failures) == 0:
		complete()
	case len(completions) == 0:
		fail()
	default: // at the same time, so that both share a transaction
		var wg sync.WaitGroup
		wg.Go(fail)
		complete()
		wg.Wait()
	}
	if completed == nil && failed == nil {
		return nil, nil
	}
	for _, e := range batch {
		if e.failure == nil && completed != nil || e.failure != nil && failed != nil {
			left = append(left, e)
		}
	}
	return left, cmp.Or(completed, failed)
}

// write calls write once and returns its error if trying again may help.
func (t *settler) write(what string, write func(context.Context) ([]backend.Lease, error)) error {
	// On a broken network an answer may never come. Another connection may work, and
	// repeating the call does no harm.
	ctx, cancel := context.WithTimeout(t.unsettled.giveUp, t.opts.Lease)
	lost, err := write(ctx)
	cancel()
	switch {
	case err == nil:
		for _, l := range lost {
			t.opts.Logger.Warn("plainjobs: a run ended after its lease was lost; its result is not stored", "id", l.ID)
		}
		return nil
	case permanent(err) && !errors.Is(err, backend.ErrInvalid) || t.unsettled.giveUp.Err() != nil:
		t.opts.Logger.Error("plainjobs: the store failed to "+what+"; the jobs will run again", "error", err)
		return nil
	}
	t.log.warn(what, err)
	return err
}

// maxRefusals is how often the store must refuse an end alone while it accepts
// heartbeats, over at least one lease, before the settler fails the job.
const maxRefusals = 5

// An apart is the end of a run that the store has refused alone: because of what it
// contains, for example a result that is too large, or because the store refuses
// everything.
type apart struct {
	entry
	tries int       // refused while the store accepted a heartbeat
	since time.Time // when the first of these was refused
	next  time.Time
	pause *backoff
}

func (t *settler) setApart(e entry, err error) {
	r := &apart{entry: e, pause: newBackoff()}
	if errors.Is(err, backend.ErrInvalid) && t.fail(r, err) { // trying again cannot help
		return
	}
	t.putBack(r)
}

// putBack schedules another try of an end that was set apart.
func (t *settler) putBack(r *apart) {
	r.next = time.Now().Add(r.pause.next())
	t.apart = append(t.apart, r)
	slices.SortFunc(t.apart, func(a, b *apart) int { return a.next.Compare(b.next) })
}

func (t *settler) due() bool {
	return len(t.apart) > 0 && (t.unsettled.giveUp.Err() != nil || !time.Now().Before(t.apart[0].next))
}

// retry tries the first end that was set apart, if its time has come.
func (t *settler) retry() {
	if !t.due() {
		return
	}
	r := t.apart[0]
	t.apart = t.apart[1:]
	left, err := t.storeBatch([]entry{r.entry})
	if len(left) == 0 {
		t.over = append(t.over, r.run)
		return
	}
	if t.blames(r, err) {
		if r.tries++; r.tries == 1 {
			r.since = time.Now()
			t.opts.Logger.Warn("plainjobs: the store refuses the end of this run and accepts other writes; trying again",
				append(attrs(r.run), slog.Any("error", err))...)
		}
	}
	if r.tries >= maxRefusals && time.Since(r.since) >= t.opts.Lease && t.fail(r, err) {
		return
	}
	t.putBack(r)
}

// blames reports whether an error seems to be due to the end and not to the store, which
// accepts a heartbeat right after it. An end without a result or an error text is as
// small as a heartbeat and is never blamed.
func (t *settler) blames(r *apart, err error) bool {
	plain := len(r.run.ctx.Info.Result) == 0 && (r.failure == nil || r.failure.Error == "")
	if plain || errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrNoSpace) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	return t.heartbeats.accepted(t.unsettled.giveUp)
}

// fail fails the job of an end that the store keeps refusing, with the reason as its
// error, and reports whether the store accepted that.
func (t *settler) fail(r *apart, err error) bool {
	f := backend.Failure{Lease: r.run.job.Lease, Ending: backend.EndFailed}
	if r.failure != nil {
		f.Ending, f.Delay = r.failure.Ending, r.failure.Delay
	}
	why := fmt.Errorf("the store refuses the end of the run: %w", err)
	f.Error = why.Error()
	ctx, cancel := context.WithTimeout(t.unsettled.giveUp, t.opts.Lease)
	defer cancel()
	if _, err := t.store.Fail(ctx, []backend.Failure{f}); err != nil {
		t.log.warn("store that a job failed because the end of its run was refused", err)
		return false
	}
	t.opts.Logger.Error("plainjobs: the store refuses the end of the run; the job failed with the reason instead",
		append(attrs(r.run), slog.Any("ending", lifecycle.StateAfter(f.Ending, f.Delay)), slog.Any("error", err))...)
	t.reporter.emit(engine.Event{Kind: engine.FailureKinds[f.Ending], Job: r.run.job, Err: why, Took: r.run.took, In: f.Delay, Began: r.run.ctx.Info.Began, Failure: &f})
	t.over = append(t.over, r.run)
	return true
}
