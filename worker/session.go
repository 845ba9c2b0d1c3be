package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A session is one call of Run.
//
// Its goroutines: fetch claims jobs into the channel runs, the slots take them
// out and call handlers, the settler stores how they ended, beat keeps the
// worker's row alive, and reap rescues and prunes.
type session struct {
	queue *engine.Queue
	opts  Options
	store backend.Backend
	jobs  map[string]*engine.Definition
	names []string
	log   *complaints

	runs    chan *run     // claimed and not started
	kick    chan struct{} // tells fetch that a slot took a run or came free
	slots   sync.WaitGroup
	settler *settler

	handlers     context.Context // parent of all handlers' contexts
	stopHandlers context.CancelCauseFunc

	mu      sync.Mutex
	self    backend.Worker
	known   bool               // self has been registered
	renewed time.Time          // when the row was last renewed for certain
	held    map[int64]*run     // by token: claimed and not settled
	waiting int                // of held, in the channel
	bytes   int                // of the payloads of those that wait
	running int                // of held, in a slot
	taken   int                // how many runs the slots have taken in all
	suspect *run               // the suspect among held
	average time.Duration      // of a handler's time, weighted to the latest
	rouse   context.CancelFunc // ends a wait that is for no suspects

	settling bool // the settler is about to write, and fetch has not seen it
}

// A run is a claimed job.
type run struct {
	job    backend.Job
	def    *engine.Definition
	state  runState
	ctx    context.Context
	cancel context.CancelCauseFunc // of a running one
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

func newSession(q *engine.Queue, opts Options, jobs map[string]*engine.Definition) *session {
	s := &session{
		queue: q,
		opts:  opts,
		store: q.Backend,
		jobs:  jobs,
		names: slices.Sorted(maps.Keys(jobs)),
		log:   newComplaints(opts.Logger),
		runs:  make(chan *run, maxPrefetch+opts.Concurrency),
		kick:  make(chan struct{}, 1),
		held:  map[int64]*run{},
	}
	s.settler = newSettler(s)
	s.renew()
	return s
}

// renew draws a new identity.
func (s *session) renew() {
	host, _ := os.Hostname()
	s.self = backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: host, PID: os.Getpid(), Lease: s.opts.Lease}
	s.known = false
}

func (s *session) run(ctx context.Context) error {
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.handlers, s.stopHandlers = context.WithCancelCause(context.WithoutCancel(ctx))
	defer s.stopHandlers(plainjobs.ErrStopped)

	if err := s.enroll(work); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var rest sync.WaitGroup
	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBeating()
	reapings := make(chan backend.ReapRequest, 1)
	rest.Go(func() { s.beat(beating, stop, reapings) })
	rest.Go(func() { s.reap(beating, reapings) })
	defer context.AfterFunc(work, s.settler.unbound)()
	rest.Go(s.settler.loop)
	for range s.opts.Concurrency {
		s.slots.Go(s.slot)
	}

	s.fetch(work, stop) // until work ends

	var broken error // why work ended, if not by ctx
	if ctx.Err() == nil {
		broken = context.Cause(work)
	}
	stuck := s.drain(broken == nil)
	s.settler.close()
	<-s.settler.done
	stopBeating()
	rest.Wait()
	if len(stuck) == 0 {
		s.leave(ctx)
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

// enroll registers the worker, as long as it takes.
func (s *session) enroll(ctx context.Context) error {
	for pause := newPause(); ; {
		asked := time.Now()
		_, err := s.store.Claim(ctx, s.request(0, false))
		if err == nil {
			s.mu.Lock()
			s.known, s.renewed = true, asked
			s.mu.Unlock()
			return nil
		}
		if permanent(err) || ctx.Err() != nil {
			return err
		}
		s.log.complain("register", err)
		pause.sleep(ctx)
	}
}

// request returns a claim in the worker's name.
func (s *session) request(limit int, suspects bool) backend.ClaimRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return backend.ClaimRequest{
		Worker:   s.self,
		Register: !s.known,
		Names:    s.names,
		Limit:    limit,
		MaxBytes: max(1, backend.DefaultMaxBytes-s.bytes),
		Suspects: suspects,
	}
}

// drain ends the handlers, after the grace if there is to be one, and returns
// those that do not end.
func (s *session) drain(grace bool) (stuck []string) {
	s.handBack()
	close(s.runs)
	ended := make(chan struct{})
	go func() {
		s.slots.Wait()
		close(ended)
	}()
	if grace && s.opts.Grace > 0 {
		timer := time.NewTimer(s.opts.Grace)
		defer timer.Stop()
		select {
		case <-ended:
			return nil
		case <-timer.C:
		}
	}
	s.stopHandlers(plainjobs.ErrStopped)
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.held {
		if r.state == runRuns {
			stuck = append(stuck, fmt.Sprintf("%s #%d", r.job.Name, r.job.ID))
		}
	}
	slices.Sort(stuck)
	return stuck
}

// handBack releases the runs that no slot has taken.
func (s *session) handBack() {
	for {
		select {
		case r := <-s.runs:
			s.mu.Lock()
			s.waiting--
			s.bytes -= len(r.job.Payload)
			lost := r.state == runLost
			if !lost {
				r.state = runSettles
			}
			s.mu.Unlock()
			if lost {
				s.forget(r)
			} else {
				s.settler.add(r, &backend.Failure{Lease: r.job.Lease, Ending: backend.EndRelease})
			}
		default:
			return
		}
	}
}

// forget drops a run whose lease is settled or lost.
func (s *session) forget(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, r.job.Token)
	if s.suspect == r {
		s.suspect = nil
	}
	s.rouseFetch()
}

// rouseFetch ends a wait that is for no suspects, as one may be claimed now.
// The caller holds mu.
func (s *session) rouseFetch() {
	if s.rouse != nil {
		s.rouse()
	}
}

// lose tells a run that its job is not its own any more. The caller holds mu.
func (s *session) lose(r *run) {
	if r.state != runWaits && r.state != runRuns {
		return
	}
	s.opts.Logger.Warn("plainjobs: lease lost", attrs(r)...)
	if r.state == runRuns {
		r.cancel(plainjobs.ErrLeaseLost)
	}
	r.state = runLost
}

// leave takes the worker's row out of the store.
func (s *session) leave(ctx context.Context) {
	heart, ok := s.store.(backend.Heart)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := heart.Beat(ctx, backend.BeatRequest{Worker: s.self, Leave: true}); err != nil && !permanent(err) {
		s.log.complain("leave", err)
	}
}

func attrs(r *run) []any {
	return []any{slog.String("job", r.job.Name), slog.Int64("id", r.job.ID), slog.Int("attempt", r.job.Attempt)}
}
