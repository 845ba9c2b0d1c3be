package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A session is one call of Run.
//
// Its goroutines: fetch claims jobs into the queue runs, the slots take them
// out and call handlers, the settler stores how they ended, beat keeps the
// worker's row alive, and reap rescues and prunes.
//
// They share one mutex, and a slot takes it once for each run, to tell how the
// last one ended and to get the next: under load, that and not the handlers is
// what slots wait for.
type session struct {
	queue *engine.Queue
	opts  Options
	store backend.Backend
	jobs  map[string]*engine.Definition
	names []string
	log   *throttledLog

	schedules      map[string]*schedule
	ticking        sync.Mutex    // of those who take ticks
	progressed     chan struct{} // runs have told how far they are
	hasConcurrency bool          // a job has a concurrency of its own

	demandChanged chan struct{} // tells fetch, when it waits, to look at the demand again
	slots         sync.WaitGroup
	settler       *settler

	handlers     context.Context // parent of all handlers' contexts
	stopHandlers context.CancelCauseFunc

	eventsMu     sync.RWMutex // held to tell of an event
	eventsClosed bool         // nothing is settled any more; telling guards it

	mu                    sync.Mutex
	self                  backend.Worker
	registered            bool               // self has been registered
	renewed               time.Time          // when the row was last renewed for certain
	held                  run                // ring of those that are claimed and not settled; itself is none
	leases                int                // how many those are
	runs                  []*run             // of held, claimed and not started
	bytes                 int                // of the payloads of those
	work                  sync.Cond          // runs came, or closed
	idle                  int                // slots that wait for work
	closed                bool               // slots get no more
	running               int                // of held, in a slot
	awaiting              int                // runs whose handlers await other jobs
	startCount            int                // how many runs the slots have taken in all
	suspect               *run               // the suspect among held
	waitingForSuspectLock bool               // another worker of this process has the turn for suspects
	average               time.Duration      // of a handler's time, weighted to the latest
	wakeWait              context.CancelFunc // ends a wait that is for no suspects

	concurrencyInUse map[*engine.Definition]int // of held, of jobs with a concurrency, until they have run
	timesFreed       int                        // how often one of those came free
	claimableNames   []string                   // see bound
	claimCount       int                        // of claims, see bound
	progressByRun    map[*run]progressValue
	untold           map[string]bool // names of which the log says that the store keeps no progress
	deferred         []func()        // see later

	holders map[int64]time.Time // when workers were last heard of, as drained first saw; of fetch

	settling            bool // the settler is about to write, and fetch has not seen it
	fetchWaiting        bool // fetch waits until there is demand
	drainingForSuspects bool // see demand
}

// A run is a claimed job.
type run struct {
	s     *session
	job   *backend.Job
	def   *engine.Definition
	state runState
	ctx   engine.Context // of one that is or was running

	running   bool
	slot      int64 // the goroutine's number
	counted   bool  // in taking
	awaits    int   // calls of Await by the handler
	cancelled atomic.Bool
	reported  atomic.Bool // as stuck
	expires   time.Time   // to be started by then, or zero
	told      bool        // the store was told that it was
	took      time.Duration

	before, after *run // in held; nil if it is not
}

type runState uint8

const (
	runWaits runState = iota
	runRuns
	runSettles
	runLost
)

// maxPrefetch bounds the runs that wait for a slot, maxClaim those that are
// claimed at once: one claim runs while the next is made. Their payloads are at
// most [backend.DefaultMaxBytes] together, except for a single one.
const (
	maxPrefetch = 1024
	maxClaim    = maxPrefetch / 2
)

func newSession(q *engine.Queue, opts Options, jobs map[string]*engine.Definition, schedules map[string]*schedule) *session {
	s := &session{
		queue:         q,
		opts:          opts,
		store:         q.Backend,
		jobs:          jobs,
		names:         slices.Sorted(maps.Keys(jobs)),
		log:           newThrottledLog(opts.Logger),
		demandChanged: make(chan struct{}, 1),

		schedules:        schedules,
		progressed:       make(chan struct{}, 1),
		concurrencyInUse: map[*engine.Definition]int{},
		holders:          map[int64]time.Time{},
	}
	for _, d := range jobs {
		s.hasConcurrency = s.hasConcurrency || d.Concurrency > 0
	}
	s.held.before, s.held.after = &s.held, &s.held
	s.work.L = &s.mu
	s.settler = newSettler(s)
	s.newIdentity()
	return s
}

// newIdentity draws a new identity.
func (s *session) newIdentity() {
	host, _ := os.Hostname()
	s.self = backend.Worker{
		ID: 1 + rand.Int64N(1<<62), Host: host, PID: os.Getpid(), Process: engine.Process(), Lease: s.opts.Lease,
		Jobs: s.names, Schedules: slices.Sorted(maps.Keys(s.schedules)),
	}
	s.registered = false
}

func (s *session) run(ctx context.Context) error {
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.handlers, s.stopHandlers = context.WithCancelCause(context.WithoutCancel(ctx))
	defer s.stopHandlers(plainjobs.ErrStopped)

	err := s.checkEnvironment(work)
	if err == nil {
		err = s.register(work)
	}
	switch {
	case ctx.Err() != nil || errors.Is(err, errDrained):
		return nil
	case err != nil:
		return err
	}
	var rest sync.WaitGroup
	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBeating()
	reapings := make(chan backend.ReapRequest, 1)
	rest.Go(func() { s.heartbeatLoop(beating, stop, reapings) })
	rest.Go(func() { s.reapLoop(beating, reapings) })
	rest.Go(func() { s.progress(beating) })
	if !s.opts.NoSchedules {
		rest.Go(func() { s.tickLoop(work) })
	}
	rest.Go(func() { s.watchDead(beating) })
	defer s.queue.Join(s)()
	defer s.queue.SuspectLock.Release(s)
	defer context.AfterFunc(work, s.settler.removeBound)()
	rest.Go(s.settler.loop)
	for range s.opts.Concurrency {
		s.slots.Go(s.slot)
	}

	s.fetch(work, stop) // until work ends

	var broken error // why work ended, if not by ctx
	if cause := context.Cause(work); ctx.Err() == nil && !errors.Is(cause, errDrained) {
		broken = cause
	}
	stuck, end := s.drain(broken == nil)
	s.settler.close(end.Add(-leaveWait))
	select {
	case <-s.settler.done:
	case <-s.opts.ReleaseNow:
		if sooner := time.Now().Add(stopBound); sooner.Before(end) {
			end = sooner
		}
		s.settler.close(end.Add(-leaveWait))
		<-s.settler.done
	}
	s.eventsMu.Lock()
	s.eventsClosed = true
	s.eventsMu.Unlock()
	stopBeating()
	rest.Wait()
	if len(stuck) == 0 {
		s.leave(ctx, end)
	}
	if broken != nil {
		return broken
	}
	if len(stuck) > 0 {
		return fmt.Errorf("handlers still run that ignored the end of their contexts; their jobs are left to the lease: %s",
			strings.Join(stuck, ", "))
	}
	return nil
}

// register registers the worker, as long as it takes.
func (s *session) register(ctx context.Context) error {
	for pause := newBackoff(); ; {
		asked := time.Now()
		_, err := s.store.Claim(ctx, s.claimRequest(0, false))
		if err == nil {
			s.mu.Lock()
			s.confirmHeartbeat(s.self.ID, asked)
			s.mu.Unlock()
			if err = s.storeDefinitions(ctx); err == nil {
				return nil
			}
		}
		if permanent(err) || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, backend.ErrWorkerGone) { // taken for dead before it was all there
			s.mu.Lock()
			s.newIdentity()
			s.mu.Unlock()
		}
		s.log.warn("register this worker", err)
		pause.wait(ctx)
	}
}

// claimRequest returns a claim in the worker's name.
func (s *session) claimRequest(limit int, suspects bool) backend.ClaimRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	req := backend.ClaimRequest{
		Worker:   s.self,
		Register: !s.registered,
		Names:    s.names,
		Limit:    limit,
		MaxBytes: max(1, backend.DefaultMaxBytes-s.bytes),
		Suspects: suspects,
	}
	req.Prefetch = min(limit, max(0, limit+len(s.runs)+s.running-s.opts.Concurrency))
	if s.hasConcurrency {
		s.applyConcurrency(&req)
	}
	return req
}

// applyConcurrency keeps the claims of jobs with a concurrency of their own within it. Of
// such a job's names, if it has several, each claim asks for the next. It sets
// open to all names of which one may be asked for. The caller holds mu.
func (s *session) applyConcurrency(req *backend.ClaimRequest) {
	req.MaxPerName, req.Names, s.claimableNames = map[string]int{}, nil, nil
	for _, name := range s.names {
		d := s.jobs[name]
		if d.Concurrency > 0 {
			left := d.Concurrency - s.concurrencyInUse[d]
			if left <= 0 {
				continue
			}
			s.claimableNames = append(s.claimableNames, name)
			if n := s.claimCount % (1 + len(d.Aliases)); n == 0 && name != d.Name || n > 0 && name != d.Aliases[n-1] {
				continue
			}
			req.MaxPerName[name] = left
		} else {
			s.claimableNames = append(s.claimableNames, name)
		}
		req.Names = append(req.Names, name)
	}
}

// drain ends the handlers, after the grace if there is to be one. It returns
// those that do not end, and when Run is to return at the latest.
func (s *session) drain(grace bool) (stuck []string, end time.Time) {
	end = time.Now().Add(stopBound)
	s.releaseWaiting()
	s.mu.Lock()
	s.closed = true
	s.work.Broadcast()
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.slots.Wait()
		close(ended)
	}()
	if grace && s.opts.Grace > 0 {
		end = end.Add(s.opts.Grace)
		timer := time.NewTimer(s.opts.Grace)
		defer timer.Stop()
		select {
		case <-ended:
			return nil, end
		case <-s.opts.ReleaseNow:
			end = time.Now().Add(stopBound)
		case <-timer.C:
		}
	}
	s.stopHandlers(plainjobs.ErrStopped)
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-ended:
		return nil, end
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.each {
		if r.running {
			stuck = append(stuck, fmt.Sprintf("%s #%d", r.job.Name, r.job.ID))
		}
	}
	slices.Sort(stuck)
	return stuck, end
}

// releaseWaiting releases the runs that no slot has taken.
func (s *session) releaseWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, r := range s.runs {
		s.freeConcurrency(r)
		if r.state == runLost {
			s.removeRun(r)
			continue
		}
		r.state = runSettles
		s.settler.append(r, &backend.Failure{Lease: r.job.Lease, Ending: backend.EndRelease, Expires: r.timeToStart(now)})
	}
	clear(s.runs)
	s.runs, s.bytes = s.runs[:0], 0
}

// addRun keeps a claimed run. The caller holds mu.
func (s *session) addRun(r *run) {
	r.before, r.after = s.held.before, &s.held
	r.before.after, r.after.before = r, r
	s.leases++
	if r.def.Concurrency > 0 {
		r.counted = true
		s.concurrencyInUse[r.def]++
	}
}

// freeConcurrency lets another run of a job with a concurrency take this one's place.
// The caller holds mu.
func (s *session) freeConcurrency(r *run) {
	if r.counted {
		r.counted = false
		s.concurrencyInUse[r.def]--
		s.timesFreed++
		s.wakeFetch()
	}
}

// removeRun drops a run whose lease is settled or lost. The caller holds mu.
func (s *session) removeRun(r *run) {
	if r.before != nil {
		r.before.after, r.after.before = r.after, r.before
		r.before, r.after = nil, nil
		s.leases--
	}
	if s.suspect == r {
		s.suspect = nil
		s.queue.SuspectLock.Release(s)
	}
	delete(s.progressByRun, r)
	s.wakeFetch()
}

// each yields the runs that are held. The caller holds mu.
func (s *session) each(yield func(*run) bool) {
	for r := s.held.after; r != &s.held; {
		next := r.after
		if !yield(r) {
			return
		}
		r = next
	}
}

// wakeFetch ends a wait that is not for everything, as more may be claimed now.
// The caller holds mu.
func (s *session) wakeFetch() {
	if s.wakeWait != nil {
		s.wakeWait()
	}
}

// loseLease tells a run that its job is not its own any more. The caller holds mu.
func (s *session) loseLease(r *run) {
	if !r.ctx.Info.InTx.Load() { // or its own transaction has ended it, which judge finds out
		s.dropRun(r)
	}
}

// dropRun is lose for a run whose own transaction has not ended it. The caller holds
// mu.
func (s *session) dropRun(r *run) {
	if r.state != runWaits && r.state != runRuns {
		return
	}
	began := r.ctx.Info.Began
	s.afterUnlock(func() {
		s.opts.Logger.Warn("plainjobs: lease lost", attrs(r)...)
		s.emit(engine.Event{Kind: engine.Lost, Job: r.job, Err: plainjobs.ErrLeaseLost, Began: began})
	})
	if r.state == runRuns {
		r.ctx.End(plainjobs.ErrLeaseLost)
		s.reportIfStuck(r, stuckAfter)
	}
	r.state = runLost
}

// CancelRuns implements [engine.Canceller].
func (s *session) CancelRuns(ids []int64) (had []int64) {
	cancelled := make(map[int64]bool, len(ids))
	for _, id := range ids {
		cancelled[id] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.each {
		if cancelled[r.job.ID] && r.state != runLost {
			s.cancel(r)
			had = append(had, r.job.ID)
		}
	}
	return had
}

// cancel ends a run whose job an operator has cancelled. The caller holds mu.
func (s *session) cancel(r *run) {
	if r.cancelled.Swap(true) || r.state != runRuns {
		return
	}
	r.ctx.End(plainjobs.ErrCancelled)
	s.reportIfStuck(r, stuckAfter)
}

// emit tells the queue's subscribers of an event, unless Run is about to return.
// The caller does not hold mu: a subscriber, and a log, may call the queue.
func (s *session) emit(e engine.Event) {
	s.eventsMu.RLock()
	defer s.eventsMu.RUnlock()
	if !s.eventsClosed {
		s.queue.Events.Emit(s.opts.Logger, e)
	}
}

// afterUnlock has say call f. The caller holds mu.
func (s *session) afterUnlock(f func()) { s.deferred = append(s.deferred, f) }

// runDeferred tells what happened while mu was held.
func (s *session) runDeferred() {
	s.mu.Lock()
	unsaid := s.deferred
	s.deferred = nil
	s.mu.Unlock()
	for _, f := range unsaid {
		f()
	}
}

// leave takes the worker's row out of the store, if it can by a time.
func (s *session) leave(ctx context.Context, end time.Time) {
	heart, ok := s.store.(backend.Heartbeater)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(leaveMost, time.Until(end)))
	defer cancel()
	if _, err := heart.Heartbeat(ctx, backend.HeartbeatRequest{Worker: s.self, Leave: true}); err != nil && !permanent(err) {
		s.log.warn("sign this worker off", err)
	}
}

func attrs(r *run) []any {
	return []any{slog.String("job", r.job.Name), slog.Int64("id", r.job.ID), slog.Int("attempt", r.job.Attempt)}
}
