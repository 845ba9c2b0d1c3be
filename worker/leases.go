package worker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// leases holds the worker's row and the runs whose leases depend on it: those that
// are claimed and neither settled nor dropped after a loss.
type leases struct {
	*setup
	reporter *reporter

	mu    sync.Mutex
	row   row
	ring  run // the head of the list of runs, itself none
	count int // of runs in ring
}

// A row is what the worker knows of its row in the store.
type row struct {
	self       backend.Worker
	registered bool      // the store has the row
	renewed    time.Time // when the store last renewed it for certain
}

func newLeases(s *setup, r *reporter) *leases {
	l := &leases{setup: s, reporter: r}
	l.ring.before, l.ring.after = &l.ring, &l.ring
	l.row.replace(s)
	return l
}

// self returns what the worker calls itself in the errors of its runs.
func self() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s, pid %d", host, os.Getpid())
}

// replace makes the row that of a worker with a new ID, which is not registered.
func (w *row) replace(s *setup) {
	host, _ := os.Hostname()
	w.self = backend.Worker{
		ID: 1 + rand.Int64N(1<<62), Host: host, PID: os.Getpid(), Version: engine.Version(), Process: engine.Process(),
		Lease: s.opts.Lease, Jobs: s.names, Schedules: slices.Sorted(maps.Keys(s.schedules)),
	}
	w.registered = false
}

// confirm notes that the store has answered a request of the worker with the ID that was
// sent at asked, and so has renewed its row.
func (w *row) confirm(id int64, asked time.Time, onHeartbeat func(time.Time)) {
	if w.self.ID != id {
		return
	}
	w.registered = true
	if asked.After(w.renewed) {
		w.renewed = asked
		if onHeartbeat != nil {
			onHeartbeat(asked)
		}
	}
}

// worker returns the worker, and when the store last renewed its row for certain.
func (l *leases) worker() (self backend.Worker, renewed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.row.self, l.row.renewed
}

// claimRequest returns a claim of no jobs, which registers the worker or renews its
// row.
func (l *leases) claimRequest() backend.ClaimRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return backend.ClaimRequest{Worker: l.row.self, Register: !l.row.registered, Names: l.names, MaxBytes: backend.DefaultMaxBytes}
}

// confirm is [row.confirm].
func (l *leases) confirm(id int64, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.row.confirm(id, asked, l.opts.OnHeartbeat)
}

// add adds the runs of a claim that the worker with the ID sent at asked. They are
// lost if that worker was declared dead meanwhile.
func (l *leases) add(id int64, asked time.Time, runs []run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.row.confirm(id, asked, l.opts.OnHeartbeat)
	for i := range runs {
		r := &runs[i]
		r.before, r.after = l.ring.before, &l.ring
		r.before.after, r.after.before = r, r
		l.count++
		if l.row.self.ID != id {
			r.state.Store(runLost)
		}
	}
}

// remove removes runs that are settled, or were lost and have ended.
func (l *leases) remove(runs []*run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range runs {
		if r.before != nil {
			r.before.after, r.after.before = r.after, r.before
			r.before, r.after = nil, nil
			l.count--
		}
	}
}

// each yields the runs. The caller holds mu.
func (l *leases) each(yield func(*run) bool) {
	for r := l.ring.after; r != &l.ring; {
		next := r.after
		if !yield(r) {
			return
		}
		r = next
	}
}

// unended yields the runs that have not ended. The caller holds the dispatcher's mutex.
func (l *leases) unended(yield func(*run) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.each {
		if r.state.Load() != runSettles && !yield(r) {
			return
		}
	}
}

// held returns the number of runs.
func (l *leases) held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// running returns the jobs whose handlers are running, in words.
func (l *leases) running() (jobs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.each {
		if r.running.Load() {
			jobs = append(jobs, fmt.Sprintf("%s #%d", r.job.Name, r.job.ID))
		}
	}
	slices.Sort(jobs)
	return jobs
}

// A heartbeatState is what a heartbeat is made of.
type heartbeatState struct {
	row
	held    []*run // the runs at the time of the heartbeat
	started []*run // of held, those whose starts the heartbeat stores
	starts  []backend.Started
}

// maxStarts bounds the starts in one heartbeat. The next heartbeat has the others.
const maxStarts = 1000

// heartbeatState returns what a heartbeat at now says.
func (l *leases) heartbeatState(now time.Time) heartbeatState {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := heartbeatState{row: l.row, held: make([]*run, 0, l.count)}
	for r := range l.each {
		h.held = append(h.held, r)
		if r.state.Load() != runRuns || r.startStored || len(h.starts) == maxStarts {
			continue
		}
		if ran := now.Sub(r.ctx.Info.Began); ran >= storeStartAfter {
			h.started = append(h.started, r)
			h.starts = append(h.starts, backend.Started{Lease: r.job.Lease, For: ran})
		}
	}
	return h
}

// heartbeatStored notes that the store has answered a heartbeat that was sent at
// asked.
func (l *leases) heartbeatStored(h heartbeatState, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range h.started {
		r.startStored = true
	}
	l.row.confirm(h.self.ID, asked, l.opts.OnHeartbeat)
}

// lose loses runs, except those that have completed their jobs in transactions of
// their own: whether such a run is lost is known when it ends. The caller holds mu.
func (l *leases) lose(all func(func(*run) bool)) (lost []lostRun) {
	for r := range all {
		if r.ctx.Info.InTx.Load() {
			continue
		}
		if one, ok := r.lose(); ok {
			lost = append(lost, one)
		}
	}
	return lost
}

// loseExpired loses all runs unless the row was renewed within a lease.
func (l *leases) loseExpired() []lostRun {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.row.renewed) < l.opts.Lease {
		return nil
	}
	return l.lose(l.each)
}

// replaceWorker loses all runs of the worker with the ID and draws another
// identity. It returns the number of runs that the worker held, and false if
// another identity was drawn already.
func (l *leases) replaceWorker(id int64) (lost []lostRun, held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.row.self.ID != id {
		return nil, 0, false
	}
	lost = l.lose(l.each)
	l.row.replace(l.setup)
	return lost, l.count, true
}

// CancelRuns implements [engine.Canceller].
func (l *leases) CancelRuns(ids []int64) (had []int64) {
	cancelled := make(map[int64]bool, len(ids))
	for _, id := range ids {
		cancelled[id] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.each {
		if !cancelled[r.job.ID] || r.isLost() {
			continue
		}
		if r.cancel() {
			l.reporter.reportIfStuck(r, stuckAfter)
		}
		had = append(had, r.job.ID)
	}
	return had
}

// A comparison is how the worker's leases differ from the stored ones.
type comparison struct {
	lost        []lostRun
	uncommitted []*run          // not stored, and completed in a transaction of their own
	unknown     map[int64]bool  // tokens that are stored and not held
	release     []backend.Lease // those of them that were unknown before
}

// compare compares the leases held at a heartbeat with those that the store returned
// for it, and cancels runs that the store says are cancelled. unknown is what the last
// comparison returned.
func (l *leases) compare(held []*run, stored backend.HeartbeatResult, unknown map[int64]bool) comparison {
	c := comparison{unknown: map[int64]bool{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	byToken := make(map[int64]*run, l.count)
	for r := range l.each {
		byToken[r.job.Token] = r
	}
	for _, s := range stored.Cancel {
		if r := byToken[s.Token]; r != nil && r.cancel() {
			l.reporter.reportIfStuck(r, stuckAfter)
		}
	}
	inStore := make(map[int64]bool, len(stored.Leases))
	for _, s := range stored.Leases {
		inStore[s.Token] = true
		if byToken[s.Token] != nil {
			continue
		}
		if unknown[s.Token] {
			c.release = append(c.release, s)
		}
		c.unknown[s.Token] = true
	}
	missing := func(yield func(*run) bool) {
		for _, r := range held {
			switch {
			case inStore[r.job.Token] || r.before == nil:
			case r.ctx.Info.InTx.Load():
				c.uncommitted = append(c.uncommitted, r)
			case !yield(r):
				return
			}
		}
	}
	c.lost = l.lose(missing)
	return c
}

var _ engine.Canceller = (*leases)(nil)
