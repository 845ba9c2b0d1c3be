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
	"github.com/plainjobs/plainjobs/internal/engine"
)

// maxUnsettled is how many runs may have ended and not been stored. At it,
// slots wait: what is not stored when the process dies runs again.
const maxUnsettled = 1024

// A settler stores how runs ended. What comes while it writes is the next
// batch: there is no timer, and an idle one writes at once.
//
// When the store refuses a batch, the settler tries a smaller part of it, and a
// larger one after each success, so that what the store takes is stored. An end
// that is refused alone is set apart, and holds up no other.
type settler struct {
	s    *session
	done chan struct{} // closed when loop has returned

	// The session's mu guards these.
	entriesAdded  sync.Cond // entries came, or closed, or it is time for one that is set apart
	entriesStored sync.Cond // entries went
	entries       []entry
	writing       int  // how many loop has
	unlimited     bool // no bound any more: the worker stops
	closing       bool
	giveUp        context.Context // ends at the time that close says
	quit          context.CancelFunc

	// These are loop's.
	ready       []entry
	apart       []*apart
	over        []entry // to be forgotten
	size        int     // of the next batch, at most
	pause       *backoff
	completions []backend.Completion // to be used again
}

type entry struct {
	run     *run
	failure *backend.Failure // nil: it went well
}

func newSettler(s *session) *settler {
	t := &settler{s: s, done: make(chan struct{}), size: maxUnsettled, pause: newBackoff()}
	t.entriesAdded.L, t.entriesStored.L = &s.mu, &s.mu
	t.giveUp, t.quit = context.WithCancel(context.Background())
	return t
}

// wait returns when another end of a run may be stored: it waits while too many
// are not, unless the run was not started, so that it costs nothing to be
// repeated. The caller holds mu.
func (t *settler) wait(failure *backend.Failure) {
	for len(t.entries)+t.writing >= maxUnsettled && !t.unlimited && (failure == nil || failure.Ending != backend.EndRelease) {
		t.entriesStored.Wait()
	}
}

// append has the end of a run stored, soon. The caller holds mu.
func (t *settler) append(r *run, failure *backend.Failure) {
	t.entries = append(t.entries, entry{run: r, failure: failure})
	if len(t.entries) == 1 {
		t.entriesAdded.Signal()
	}
}

// removeBound lets everybody in who waits for room.
func (t *settler) removeBound() {
	t.s.mu.Lock()
	t.unlimited = true
	t.entriesStored.Broadcast()
	t.s.mu.Unlock()
}

// close lets loop end when everything is stored, or at a time.
func (t *settler) close(until time.Time) {
	t.s.mu.Lock()
	t.unlimited, t.closing = true, true
	t.entriesAdded.Signal()
	t.entriesStored.Broadcast()
	t.s.mu.Unlock()
	time.AfterFunc(time.Until(until), t.quit)
}

// loop stores what comes until close.
func (t *settler) loop() {
	defer close(t.done)
	defer t.quit()
	defer context.AfterFunc(t.giveUp, t.wake)()
	for {
		last, more := t.collect()
		if !more {
			return
		}
		t.s.storeProgress(t.giveUp, last)
		t.retry()
		t.settle()
	}
}

// collect forgets what is over and waits for something to do. It returns what the
// runs that came have told last, and false when all is stored or given up.
func (t *settler) collect() (last []backend.Progress, more bool) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for {
		for _, e := range t.over {
			t.s.removeRun(e.run)
		}
		clear(t.over)
		t.over = t.over[:0]
		t.writing = len(t.ready) + len(t.apart)
		t.entriesStored.Broadcast()
		switch {
		case len(t.entries) > 0:
			last = t.s.finalProgress(t.entries)
			if len(t.ready) == 0 {
				t.ready, t.entries = t.entries, t.ready
			} else {
				t.ready = append(t.ready, t.entries...)
				clear(t.entries)
				t.entries = t.entries[:0]
			}
			t.writing = len(t.ready) + len(t.apart)
		case len(t.ready) > 0 || t.due():
		case t.closing && len(t.apart) == 0:
			return nil, false
		default:
			var timer *time.Timer
			if len(t.apart) > 0 {
				timer = time.AfterFunc(time.Until(t.apart[0].next), t.wake)
			}
			t.entriesAdded.Wait()
			if timer != nil {
				timer.Stop()
			}
			continue
		}
		if len(t.ready) > 0 {
			t.s.settling = true
			t.s.wakeForDemand()
		}
		return last, true
	}
}

func (t *settler) wake() {
	t.s.mu.Lock()
	t.entriesAdded.Signal()
	t.s.mu.Unlock()
}

// settle stores what is ready, or a part of it.
func (t *settler) settle() {
	n := min(t.size, len(t.ready))
	if n == 0 {
		return
	}
	left, err := t.store(t.ready[:n])
	t.over = append(t.over, t.ready[:n]...)
	if err == nil {
		t.pause.reset()
		t.size = min(2*t.size, maxUnsettled)
		t.ready = t.ready[:copy(t.ready, t.ready[n:])]
		return
	}
	t.over = slices.DeleteFunc(t.over, func(e entry) bool {
		return slices.ContainsFunc(left, func(l entry) bool { return l.run == e.run })
	})
	t.ready = t.ready[:copy(t.ready, t.ready[n:])]
	t.size = max(1, len(left)/2)
	if n > 1 {
		t.ready = append(t.ready, left...) // behind the others
	} else {
		t.setApart(left[0], err)
	}
	t.pause.wait(t.giveUp)
}

// store writes a batch. It returns what the store refused and is to be tried
// again, and why. A run whose end is not stored keeps its lease and, in the end,
// runs again.
func (t *settler) store(batch []entry) (left []entry, err error) {
	completions := t.completions[:0]
	var failures []backend.Failure
	for _, e := range batch {
		if e.failure == nil {
			completions = append(completions, backend.Completion{Lease: e.run.job.Lease, Result: e.run.ctx.Info.Result, Took: e.run.toldTook()})
		} else {
			f := *e.failure
			f.Took = e.run.toldTook()
			failures = append(failures, f)
		}
	}
	t.completions = completions
	var completed, failed error
	complete := func() {
		completed = t.write("store that runs are done", func(ctx context.Context) ([]backend.Lease, error) { return t.s.store.Complete(ctx, completions) })
	}
	fail := func() {
		failed = t.write("store that runs have failed or go back", func(ctx context.Context) ([]backend.Lease, error) { return t.s.store.Fail(ctx, failures) })
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

// write calls write once, and returns its error if trying again may help.
func (t *settler) write(what string, write func(context.Context) ([]backend.Lease, error)) error {
	// On a network that is silent an answer may never come; another
	// connection may do better, and to repeat it does no harm.
	ctx, cancel := context.WithTimeout(t.giveUp, t.s.opts.Lease)
	lost, err := write(ctx)
	cancel()
	switch {
	case err == nil:
		for _, l := range lost {
			t.s.opts.Logger.Warn("plainjobs: a run ended after its lease was lost; its end is not stored", "id", l.ID)
		}
		return nil
	case permanent(err) && !errors.Is(err, backend.ErrInvalid) || t.giveUp.Err() != nil:
		t.s.opts.Logger.Error("plainjobs: the store failed to "+what+"; the jobs will run again", "error", err)
		return nil
	}
	t.s.log.warn(what, err)
	return err
}

// maxRefusals is how often, and over a lease at least, the store must refuse an
// end alone while it takes heartbeats, before its job is failed.
const maxRefusals = 5

// An apart is the end of a run that the store has refused alone: because of what
// it is, as with a result that is too large, or because it refuses everything.
type apart struct {
	entry
	tries int       // that were refused while the store took a heartbeat
	since time.Time // of the first of these
	next  time.Time
	pause *backoff
}

func (t *settler) setApart(e entry, err error) {
	r := &apart{entry: e, pause: newBackoff()}
	if errors.Is(err, backend.ErrInvalid) && t.fail(r, err) { // time does not change that
		return
	}
	t.putBack(r)
}

// putBack has an end that was set apart tried again later, in the order of their times.
func (t *settler) putBack(r *apart) {
	r.next = time.Now().Add(r.pause.next())
	t.apart = append(t.apart, r)
	slices.SortFunc(t.apart, func(a, b *apart) int { return a.next.Compare(b.next) })
}

func (t *settler) due() bool {
	return len(t.apart) > 0 && (t.giveUp.Err() != nil || !time.Now().Before(t.apart[0].next))
}

// retry tries the end that was set apart whose time has come, if there is one.
func (t *settler) retry() {
	if !t.due() {
		return
	}
	r := t.apart[0]
	t.apart = t.apart[1:]
	left, err := t.store([]entry{r.entry})
	if len(left) == 0 {
		t.over = append(t.over, r.entry)
		return
	}
	if t.blames(r, err) {
		if r.tries++; r.tries == 1 {
			r.since = time.Now()
			t.s.opts.Logger.Warn("plainjobs: the store refuses how this run ended and takes other writes; trying again",
				append(attrs(r.run), slog.Any("error", err))...)
		}
	}
	if r.tries >= maxRefusals && time.Since(r.since) >= t.s.opts.Lease && t.fail(r, err) {
		return
	}
	t.putBack(r)
}

// blames reports whether an error seems due to what was to be stored, and not to
// the store: whether that takes a heartbeat at once. An end without a result or
// an error is no more to store than that, and is never to blame.
func (t *settler) blames(r *apart, err error) bool {
	plain := r.failure == nil && len(r.run.ctx.Info.Result) == 0 || r.failure != nil && r.failure.Error == ""
	if plain || errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrNoSpace) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	_, _, err = t.s.sendHeartbeat(t.giveUp)
	return err == nil
}

// fail fails the job of an end that the store goes on refusing, with the reason,
// and says whether the store took that.
func (t *settler) fail(r *apart, err error) bool {
	f := backend.Failure{Lease: r.run.job.Lease, Ending: backend.EndFailed}
	if r.failure != nil {
		f.Ending, f.Delay = r.failure.Ending, r.failure.Delay
	}
	why := fmt.Errorf("the store refuses how the run ended: %w", err)
	f.Error = why.Error()
	ctx, cancel := context.WithTimeout(t.giveUp, t.s.opts.Lease)
	defer cancel()
	if _, err := t.s.store.Fail(ctx, []backend.Failure{f}); err != nil {
		t.s.log.warn("store that a run failed because its end was refused", err)
		return false
	}
	t.s.opts.Logger.Error("plainjobs: the store refuses how the run ended, and took the reason instead",
		append(attrs(r.run), slog.Any("ending", f.Ending.State(f.Delay)), slog.Any("error", err))...)
	t.s.emit(engine.Event{Kind: eventKinds[f.Ending], Job: r.run.job, Err: why, Took: r.run.took, In: f.Delay, Began: r.run.ctx.Info.Began, Failure: &f})
	t.over = append(t.over, r.entry)
	return true
}
