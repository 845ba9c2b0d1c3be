package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A setup is what does not change during a call of Run. All parts of a session share it.
type setup struct {
	queue     *engine.Queue
	opts      Options
	store     backend.Backend
	jobs      map[string]*engine.Definition
	names     []string // of jobs
	schedules map[string]*schedule
	log       *throttledLog
	handlers  context.Context // the parent of all handlers' contexts
	ready     func()          // called when the worker is registered or paused
	self      string          // what the worker calls itself in errors
	batch     int             // the maximum number of jobs of a batch, or 0 without batches
	linger    time.Duration   // how long a batch waits for more
}

// A session is one call of Run or Start, or its part for one lane. Its parts and their goroutines:
//
//   - The claimer claims as many jobs as the dispatcher wants.
//   - The slots take runs from the dispatcher, call the handlers, and leave the ends of
//     the runs in unsettled.
//   - The settler stores these ends, and progress what handlers report.
//   - The heartbeats renew the worker's row and compare its leases with the stored ones.
//   - The reaper rescues the jobs of dead workers and prunes old jobs.
//   - The ticker pushes the jobs of schedules that the program defines.
//   - The stored ticker pushes those of stored schedules, in one session of the worker.
//
// Each part has a mutex of its own or none. Only the dispatcher holds its mutex while it
// takes others, see there.
type session struct {
	*setup
	stopHandlers context.CancelCauseFunc

	reporter   *reporter
	leases     *leases
	progress   *progress
	unsettled  *unsettled
	dispatcher *dispatcher
	slots      *slots
	heartbeats *heartbeats
	settler    *settler
	reaper     *reaper
	ticker     *ticker
	stored     *storedTicker
	claimer    *claimer
}

// newSession returns a session whose handlers' contexts have the values of ctx.
func newSession(ctx context.Context, q *engine.Queue, opts Options, jobs map[string]*engine.Definition, schedules map[string]*schedule) *session {
	handlers, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &setup{
		queue: q, opts: opts, store: q.Backend, jobs: jobs, names: slices.Sorted(maps.Keys(jobs)), schedules: schedules,
		log: newThrottledLog(opts.Logger), handlers: handlers, ready: func() {}, self: self(),
	}
	for _, d := range jobs {
		if d.Batch { // then it is the only one
			c.batch, c.linger = d.MaxBatch, d.Linger
		}
	}
	s := &session{setup: c, stopHandlers: stop}
	s.reporter = &reporter{setup: c}
	s.leases = newLeases(c, s.reporter)
	s.progress = newProgress(c)
	s.unsettled = newUnsettled()
	s.dispatcher = newDispatcher(c, s.leases, s.progress, s.unsettled)
	s.slots = &slots{setup: c, dispatcher: s.dispatcher, progress: s.progress, reporter: s.reporter}
	s.heartbeats = &heartbeats{setup: c, leases: s.leases, dispatcher: s.dispatcher, reporter: s.reporter}
	s.settler = &settler{
		setup: c, unsettled: s.unsettled, dispatcher: s.dispatcher, progress: s.progress, reporter: s.reporter, heartbeats: s.heartbeats,
		done: make(chan struct{}), size: maxUnsettled, pause: newBackoff(),
	}
	s.reaper = &reaper{setup: c, leases: s.leases, requests: make(chan backend.ReapRequest, 1)}
	s.ticker = newTicker(c)
	s.stored = newStoredTicker(c)
	s.claimer = &claimer{
		setup: c, leases: s.leases, dispatcher: s.dispatcher, heartbeats: s.heartbeats, slots: s.slots,
		idle: &idleCheck{store: c.store, firstSeen: map[int64]time.Time{}},
	}
	return s
}

// run works until ctx ends or there is no going on.
func (s *session) run(ctx context.Context) error {
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer s.stopHandlers(plainjobs.ErrStopped)

	err := s.begin(work)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	s.ready()
	var rest sync.WaitGroup
	alive, stopAlive := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAlive()
	rest.Go(func() { s.heartbeats.loop(alive, stop, s.reaper.requests) })
	rest.Go(func() { s.reaper.loop(alive) })
	rest.Go(func() { s.reaper.watchDead(alive) })
	rest.Go(func() { s.progress.loop(alive) })
	if s.queue.StoreLogs != nil {
		rest.Go(func() { s.progress.logLoop(alive) })
	}
	rest.Go(func() { s.ticker.loop(work) })
	rest.Go(func() { s.stored.loop(work) })
	defer s.queue.Join(s.leases)()
	defer s.dispatcher.suspects.close()
	defer context.AfterFunc(work, s.unsettled.removeBound)()
	rest.Go(s.settler.loop)
	for range s.opts.Concurrency {
		if s.batch > 0 {
			s.slots.startBatches(nil)
			continue
		}
		s.slots.start(outcome{})
	}

	s.claimer.loop(work, stop) // until work ends

	var broken error // why work ended, if not by ctx
	if cause := context.Cause(work); ctx.Err() == nil && !errors.Is(cause, errDrained) {
		broken = cause
	}
	ended, end := s.slots.close(broken == nil, s.stopHandlers)
	var stuck []string
	if !ended {
		stuck = s.leases.running()
	}
	end = s.settle(end)
	s.reporter.close()
	stopAlive()
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

// begin checks that the store suits the worker, and registers it.
func (s *session) begin(ctx context.Context) error {
	err := checkFields(s.setup)
	if err == nil {
		err = checkEnvironment(ctx, s.setup)
	}
	if err == nil {
		err = s.register(ctx)
	}
	return err
}

// settle lets the settler store what is left, until a time at most. It returns that time,
// which Options.ReleaseNow may bring forward.
func (s *session) settle(end time.Time) time.Time {
	s.unsettled.close(end.Add(-leaveWait))
	select {
	case <-s.settler.done:
	case <-s.opts.ReleaseNow:
		if sooner := time.Now().Add(stopBound); sooner.Before(end) {
			end = sooner
		}
		s.unsettled.close(end.Add(-leaveWait))
		<-s.settler.done
	}
	return end
}

// register registers the worker and stores its definitions, as long as it takes.
func (s *session) register(ctx context.Context) error {
	for pause := newBackoff(); ; {
		asked := time.Now()
		req := s.leases.claimRequest()
		_, err := s.store.Claim(ctx, req)
		if err == nil {
			s.leases.confirm(req.Worker.ID, asked)
			if err = storeSettings(ctx, s.setup, req.Worker.ID); err == nil {
				s.heartbeats.defined = req.Worker.ID
				_, _, err = s.heartbeats.send(ctx) // returns overrides
			}
			if err == nil {
				err = s.ticker.define(ctx)
			}
			if err == nil {
				err = s.ticker.atStart(ctx)
			}
			if err == nil {
				return nil
			}
		}
		if permanent(err) || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, backend.ErrWorkerGone) { // declared dead before it was complete
			s.leases.replaceWorker(req.Worker.ID)
		}
		s.log.warn("register this worker", err)
		pause.wait(ctx)
	}
}

// storeSettings stores what the worker with the ID defines, and logs for which jobs other
// settings apply.
func storeSettings(ctx context.Context, s *setup, id int64) error {
	store, ok := s.store.(backend.SettingsStore)
	if !ok {
		return nil
	}
	var all []backend.Settings
	for name, def := range s.jobs {
		set := def.Settings
		set.Name = name
		all = append(all, set)
	}
	instead, err := store.Set(ctx, id, all)
	for _, applies := range instead {
		s.opts.Logger.Warn("plainjobs: other settings apply to a job than this worker defines: another worker defines stricter ones, or they are overridden",
			"job", applies.Name, "defined", engine.SettingsText(s.jobs[applies.Name].Settings), "apply", engine.SettingsText(applies))
	}
	return err
}

// checkFields returns an error that matches errors.ErrUnsupported if a job of the worker
// has an option that the store does not keep.
func checkFields(s *setup) error {
	store := backend.Describe(s.store)
	if _, ok := s.store.(backend.SettingsStore); !ok { // only a SettingsStore keeps fields of Settings
		store.Fields &= backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending | backend.FieldFair
	}
	for _, name := range s.names {
		if err := s.jobs[name].CheckFields(store); err != nil {
			return err
		}
	}
	return nil
}

// leave stores the last activity and deletes the worker's row, if the store answers by a
// time.
func (s *session) leave(ctx context.Context, end time.Time) {
	store, ok := s.store.(backend.Heartbeater)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(leaveMost, time.Until(end)))
	defer cancel()
	self, _ := s.leases.worker()
	req := backend.HeartbeatRequest{Worker: self, Leave: true, Activity: s.dispatcher.unstoredActivity(true)}
	if _, err := store.Heartbeat(ctx, req); err != nil && !permanent(err) {
		s.log.warn("delete this worker's row", err)
	}
}
