package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

const (
	// schedulePoll is the longest time between two looks at the schedules: the store's
	// clock may be set.
	schedulePoll = time.Minute
	// pausedPoll is how often the ticker looks whether a name with a due tick is still
	// paused.
	pausedPoll = 5 * time.Second
)

// A ticker stores the schedules of the worker's program and pushes their jobs.
type ticker struct {
	*setup
	scheduler backend.Scheduler // nil if the worker ticks no schedule

	mu sync.Mutex // guards the elements of setup.schedules, which take ticks
}

func newTicker(s *setup) *ticker {
	t := &ticker{setup: s}
	if len(s.schedules) > 0 && !s.opts.NoSchedules {
		t.scheduler, _ = s.store.(backend.Scheduler)
	}
	return t
}

// look reads the stored schedules.
func (t *ticker) look(ctx context.Context) (l scheduleQuery, err error) {
	l.asked = time.Now()
	l.Schedules, err = t.scheduler.Schedules(ctx)
	l.answered = time.Now()
	l.paused = sync.OnceValues(func() (map[string]bool, error) { return pausedNames(ctx, t.store) })
	return l, err
}

// define stores the schedules of this worker. It tries again if other workers change them
// meanwhile.
func (t *ticker) define(ctx context.Context) error {
	if len(t.schedules) == 0 || t.opts.NoSchedules {
		return nil
	}
	if t.scheduler == nil {
		return fmt.Errorf("%w: %T keeps no schedules, and the program defines %d: set Options.NoSchedules, or use another store",
			errors.ErrUnsupported, t.store, len(t.schedules))
	}
	for range 5 {
		l, err := t.look(ctx)
		if err != nil {
			return err
		}
		stored := map[string]backend.Schedule{}
		for _, st := range l.Schedules.Schedules {
			stored[st.Name] = st
		}
		var defs []backend.Schedule
		for _, own := range t.schedules {
			st, some := stored[own.Name]
			def := backend.Schedule{Name: own.Name, Definition: own.definition}
			switch {
			case !some:
				def.Next, some = own.Next(l.Now, own.zone)
			case st.Definition == own.definition && st.RemovedAt.IsZero():
				some = false // tickOne finds a clock that was set back
			default:
				def, err = t.adopt(ctx, own, st, l.Now)
			}
			if err != nil {
				return fmt.Errorf("schedule %s: %w", own.Name, err)
			}
			if some {
				defs = append(defs, def)
			}
		}
		if len(defs) == 0 {
			return nil
		}
		if err := t.scheduler.Define(ctx, defs); err != nil {
			return err
		}
	}
	return nil
}

// atStart pushes the jobs of the schedules with RunAtStart. After an error it may be
// called again: a unique key keeps it from pushing twice.
func (t *ticker) atStart(ctx context.Context) error {
	if t.scheduler == nil {
		return nil
	}
	for _, own := range t.schedules {
		if !own.AtStart {
			continue
		}
		job, err := t.queue.Make(own.Schedule, time.Now())
		if err == nil {
			if job.Unique.Key == "" {
				job.Unique.Key = "schedule start " + own.Name
			}
			_, err = t.store.Push(ctx, []backend.NewJob{job})
			if err != nil && refusedIndex(err) < 0 {
				return fmt.Errorf("schedule %s: %w", own.Name, err)
			}
		}
		if err != nil {
			t.opts.Logger.Warn("plainjobs: a schedule pushes nothing at the start", "schedule", own.Name, "error", err)
		}
	}
	return nil
}

// adopt returns the definition that makes a stored schedule this worker's. If their timing
// is the same the next tick stays. Otherwise adopt takes the ticks that are due by the old
// timing, and the next tick comes by the new one.
func (t *ticker) adopt(ctx context.Context, own *schedule, stored backend.Schedule, now time.Time) (backend.Schedule, error) {
	def := backend.Schedule{Name: own.Name, Definition: own.definition, Next: stored.Next}
	old, _, ok := engine.TimingOf(stored.Definition)
	if ok && old.Same(own.Timing) {
		return def, nil
	}
	def.Instead = stored.Next
	if !stored.Next.After(now) {
		zone, err := old.Location()
		if !ok || err != nil {
			def.Instead = time.Time{} // the due tick counts as a tick of the new timing
			return def, nil
		}
		if !stored.RemovedAt.IsZero() {
			if err := t.scheduler.Define(ctx, []backend.Schedule{{Name: own.Name, Definition: stored.Definition, Next: stored.Next}}); err != nil {
				return def, err
			}
		}
		def.Instead, err = t.push(ctx, own, tickPlan{old, zone, stored.Definition, stored.Next, now, engine.OnTime})
		if errors.As(err, new(unmadeError)) {
			def.Instead = time.Time{} // tickOne finds the same error; the other schedules are still defined
			return def, nil
		}
		if err != nil {
			return def, err
		}
	}
	if next, some := own.Next(now, own.zone); some {
		def.Next = next
	} else {
		def.Next = never(now)
	}
	return def, nil
}

// loop pushes the jobs of schedules when they are due, until ctx ends. Every worker that
// has a schedule tries, and the store lets one succeed.
func (t *ticker) loop(ctx context.Context) {
	if t.scheduler == nil {
		return
	}
	t.log.ticking(ctx, t.tick)
}

// ticking calls tick, which returns the time to its next call or zero after an error, until ctx ends.
func (l *throttledLog) ticking(ctx context.Context, tick func(context.Context) (time.Duration, error)) {
	pause := newBackoff()
	for ctx.Err() == nil {
		wait, err := tick(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrClosed) {
			l.warn("push the jobs of schedules", err)
		}
		if wait == 0 {
			pause.wait(ctx)
			continue
		}
		pause.reset()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// tickAll takes the ticks that are due and reports whether none is left. One that could
// not be taken is left, unless its job cannot be made.
func (t *ticker) tickAll(ctx context.Context) bool {
	if t.scheduler == nil {
		return true
	}
	for again := true; again; {
		wait, err := t.tick(ctx)
		if err != nil && ctx.Err() == nil && !permanent(err) {
			t.log.warn("push the jobs of schedules", err)
		}
		if wait == 0 {
			return false
		}
		again = wait <= time.Millisecond
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, own := range t.schedules {
		if !own.unmade && time.Until(own.retryAt) > 0 {
			return false
		}
	}
	return true
}

// tick takes the ticks that are due. It returns the time to the next tick, or zero if it
// could not read the schedules.
func (t *ticker) tick(ctx context.Context) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.opts.Lease)
	defer cancel()
	l, err := t.look(ctx)
	if err != nil {
		return 0, err
	}
	wait := schedulePoll
	var errs []error
	for _, stored := range l.Schedules.Schedules {
		own := t.schedules[stored.Name]
		if own == nil {
			continue
		}
		if left := time.Until(own.retryAt); left > 0 {
			wait = min(wait, left)
			continue
		}
		left, err := t.tickOne(ctx, own, stored, l)
		if err != nil { // the other schedules still tick
			errs = append(errs, fmt.Errorf("schedule %s: %w", own.Name, err))
			own.unmade = errors.As(err, new(unmadeError))
			left = own.backoff.next()
			own.retryAt = time.Now().Add(left)
		} else {
			own.backoff.reset()
		}
		wait = min(wait, max(left, time.Millisecond))
	}
	return wait, errors.Join(errs...)
}

// tickOne takes the ticks of a schedule that are due and returns the time to the next.
func (t *ticker) tickOne(ctx context.Context, own *schedule, stored backend.Schedule, l scheduleQuery) (time.Duration, error) {
	due := !stored.Next.After(l.Now)
	other := own.definition != stored.Definition
	if due { // a tick that is due while its name is paused counts as missed
		paused, err := l.paused()
		if err != nil || paused[""] || paused[own.Job.Name] {
			return pausedPoll, err
		}
	}
	switch {
	case !stored.RemovedAt.IsZero(): // this worker was declared dead, and still has it
		return 0, t.redefine(ctx, own, stored, l.Now)
	case other && l.Now.Sub(stored.Next) <= engine.OnTime+schedulePoll+t.opts.Lease:
		return schedulePoll, nil // the worker that defined it last ticks it
	case other: // from a program that was tried out, or deployed and rolled back
		t.opts.Logger.Warn("plainjobs: no live worker has the stored definition of the schedule; this worker replaces it", "schedule", own.Name)
		return 0, t.redefine(ctx, own, stored, l.Now)
	}
	if next, back := own.movedBack(own, stored.Next, l); back {
		t.opts.Logger.Warn("plainjobs: the store's clock was set back; the schedule continues from its present time",
			"schedule", own.Name, "next", next, "instead_of", stored.Next)
		def := backend.Schedule{Name: own.Name, Definition: own.definition, Next: next, Instead: stored.Next}
		return 0, t.scheduler.Define(ctx, []backend.Schedule{def})
	}
	next := stored.Next
	if due {
		onTime := engine.OnTime
		if !own.upToDate.IsZero() {
			onTime = l.answered.Sub(own.upToDate) + time.Second
		}
		var err error
		next, err = t.push(ctx, own, tickPlan{own.Timing, own.zone, own.definition, stored.Next, l.Now, onTime})
		if err != nil {
			return 0, err
		}
	}
	own.upToDate = l.asked
	own.observe(next, l)
	return next.Sub(l.Now), nil
}

// redefine makes a stored schedule this worker's.
func (t *ticker) redefine(ctx context.Context, own *schedule, stored backend.Schedule, now time.Time) error {
	def, err := t.adopt(ctx, own, stored, now)
	if err != nil {
		return err
	}
	return t.scheduler.Define(ctx, []backend.Schedule{def})
}

// push pushes the jobs of a schedule that are due and returns its next tick.
func (t *ticker) push(ctx context.Context, own *schedule, plan tickPlan) (time.Time, error) {
	ticks, left, next, some := plan.timing.Due(plan.due, plan.now, plan.zone, own.CatchUp, plan.onTime)
	if !some {
		next = never(plan.now)
	}
	var jobs []backend.NewJob
	for _, tick := range ticks {
		job, err := t.queue.Make(own.Schedule, tick)
		if err != nil {
			return next, unmadeError{err}
		}
		jobs = append(jobs, job)
	}
	for {
		taken, err := t.take(ctx, backend.Tick{Name: own.Name, Definition: plan.definition, Due: plan.due, Next: next, Jobs: jobs})
		rest := withoutRefused(jobs, err)
		if len(rest) == len(jobs) {
			if taken && left > 0 {
				t.opts.Logger.Info("plainjobs: missed ticks do not run; see CatchUp",
					"schedule", own.Name, "first", plan.due, "skipped_at_least", left, "pushed", len(jobs))
			}
			return next, err
		}
		// The options of the job refuse this tick. The others are still pushed.
		t.opts.Logger.Warn("plainjobs: a tick pushes nothing", "schedule", own.Name, "jobs", len(jobs)-len(rest), "error", err)
		jobs = rest
	}
}

// take is Tick with a limit of its time: it may wait for a lock of the application's, and other
// schedules must not.
func (t *ticker) take(ctx context.Context, tick backend.Tick) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.tickWait())
	defer cancel()
	return t.scheduler.Tick(ctx, tick)
}

// refusedIndex returns the index of the job that a push refused because of its unique key
// or MaxPending, or -1.
func refusedIndex(err error) int {
	if e := (*backend.DuplicateError)(nil); errors.As(err, &e) {
		return e.Index
	}
	if e := (*backend.QueueFullError)(nil); errors.As(err, &e) {
		return e.Index
	}
	return -1
}
