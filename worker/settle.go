package worker

import (
	"context"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// maxUnsettled is how many runs may have ended and not been stored. At it,
// slots wait: what is not stored when the process dies runs again.
const maxUnsettled = 1024

// settleWait bounds how long a worker that stops goes on trying to store how
// runs ended.
const settleWait = 10 * time.Second

// A settler stores how runs ended. What comes while it writes is the next
// batch: there is no timer, and an idle one writes at once.
type settler struct {
	s    *session
	done chan struct{} // closed when loop has returned

	// The session's mu guards these.
	some    sync.Cond // entries came, or closed
	room    sync.Cond // entries went
	entries []entry
	writing int
	open    bool // no bound any more: the worker stops
	closing bool
	giveUp  context.Context // ends settleWait after close
	quit    context.CancelFunc

	completions []backend.Completion // of loop, to be used again
}

type entry struct {
	run     *run
	failure *backend.Failure // nil: it went well
}

func newSettler(s *session) *settler {
	t := &settler{s: s, done: make(chan struct{})}
	t.some.L, t.room.L = &s.mu, &s.mu
	t.giveUp, t.quit = context.WithCancel(context.Background())
	return t
}

// wait returns when another end of a run may be stored: it waits while too many
// are not, unless the run was not started, so that it costs nothing to be
// repeated. The caller holds mu.
func (t *settler) wait(failure *backend.Failure) {
	for len(t.entries)+t.writing >= maxUnsettled && !t.open && (failure == nil || failure.Ending != backend.EndRelease) {
		t.room.Wait()
	}
}

// append has the end of a run stored, soon. The caller holds mu.
func (t *settler) append(r *run, failure *backend.Failure) {
	t.entries = append(t.entries, entry{r, failure})
	if len(t.entries) == 1 {
		t.some.Signal()
	}
}

// unbound lets everybody in who waits for room.
func (t *settler) unbound() {
	t.s.mu.Lock()
	t.open = true
	t.room.Broadcast()
	t.s.mu.Unlock()
}

// close lets loop end when everything is stored, or settleWait is over.
func (t *settler) close() {
	t.s.mu.Lock()
	t.open, t.closing = true, true
	t.some.Signal()
	t.room.Broadcast()
	t.s.mu.Unlock()
	time.AfterFunc(settleWait, t.quit)
}

func (t *settler) loop() {
	defer close(t.done)
	defer t.quit()
	var batch []entry
	for {
		t.s.mu.Lock()
		for _, e := range batch {
			t.s.forget(e.run)
		}
		clear(batch)
		t.writing = 0
		t.room.Broadcast()
		for len(t.entries) == 0 && !t.closing {
			t.some.Wait()
		}
		batch, t.entries = t.entries, batch[:0]
		t.writing = len(batch)
		t.s.settling = len(batch) > 0
		last := t.s.lastWords(batch)
		t.s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		t.s.nudge()
		t.s.storeProgress(t.giveUp, last)
		t.store(batch)
	}
}

// store writes a batch, as long as it takes: a run whose end is not stored
// keeps its lease and, in the end, runs again.
func (t *settler) store(batch []entry) {
	completions := t.completions[:0]
	var failures []backend.Failure
	for _, e := range batch {
		if e.failure == nil {
			completions = append(completions, backend.Completion{Lease: e.run.job.Lease, Result: e.run.ctx.Info.Result})
		} else {
			failures = append(failures, *e.failure)
		}
	}
	t.completions = completions
	complete := func() {
		t.try("store that runs are done", func(ctx context.Context) ([]backend.Lease, error) { return t.s.store.Complete(ctx, completions) })
	}
	fail := func() {
		t.try("store that runs have failed or go back", func(ctx context.Context) ([]backend.Lease, error) { return t.s.store.Fail(ctx, failures) })
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
}

// try calls write until it works or the settler gives up.
func (t *settler) try(what string, write func(context.Context) ([]backend.Lease, error)) {
	for pause := newPause(); ; {
		// On a network that is silent an answer may never come; another
		// connection may do better, and to repeat it does no harm.
		ctx, cancel := context.WithTimeout(t.giveUp, t.s.opts.Lease)
		lost, err := write(ctx)
		cancel()
		if err == nil {
			for _, l := range lost {
				t.s.opts.Logger.Warn("plainjobs: a run ended after its lease was lost; its end is not stored", "id", l.ID)
			}
			return
		}
		if permanent(err) || t.giveUp.Err() != nil {
			t.s.opts.Logger.Error("plainjobs: the store failed to "+what+"; the jobs will run again", "error", err)
			return
		}
		t.s.log.complain(what, err)
		pause.sleep(t.giveUp)
	}
}
