package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// schedulePoll is how often the schedules are looked at, at least: the store's
// clock may be moved.
const schedulePoll = time.Minute

// pausedLook is how often it is looked whether a name with a due tick is still
// paused.
const pausedLook = 5 * time.Second

// A schedule is one that this worker ticks.
type schedule struct {
	*engine.Schedule
	definition string
	zone       *time.Location
	// After an error it is left alone for a time.
	backoff *backoff
	retryAt time.Time
	unmade  bool // the error was that of its job's own functions
	// well is when it was last looked at and left with no tick that was due.
	well time.Time
	clockWatch
}

// schedulesOf returns the schedules whose jobs are among jobs, or an error
// that names a zone that is not known. One that is not ticked needs no zone.
func schedulesOf(jobs map[string]*engine.Definition, ticked bool) (all map[string]*schedule, err error) {
	all = map[string]*schedule{}
	for _, s := range engine.Schedules() {
		if jobs[s.Job.Name] != s.Job {
			continue
		}
		as := *s // as it is when this worker starts
		own := &schedule{Schedule: &as, definition: as.Definition(), backoff: newBackoff()}
		if ticked {
			if own.zone, err = as.Location(); err != nil {
				return nil, err
			}
		}
		all[s.Name] = own
	}
	return all, nil
}

// A scheduleQuery is what a worker has seen of the schedules.
type scheduleQuery struct {
	backend.Schedules
	asked, answered time.Time // by the clock of this process
	// paused returns the names that are paused.
	paused func() (map[string]bool, error)
}

func (s *session) look(ctx context.Context, scheduler backend.Scheduler) (l scheduleQuery, err error) {
	l.asked = time.Now()
	l.Schedules, err = scheduler.Schedules(ctx)
	l.answered = time.Now()
	l.paused = sync.OnceValues(func() (map[string]bool, error) { return s.paused(ctx) })
	return l, err
}

// storeDefinitions stores what this worker says of its jobs and schedules. The worker
// that starts last says what holds.
func (s *session) storeDefinitions(ctx context.Context) error {
	setter, keeps := s.store.(backend.SettingsStore)
	if err := s.checkFields(keeps); err != nil {
		return err
	}
	if keeps {
		var all []backend.Settings
		for name, def := range s.jobs {
			set := def.Settings
			set.Name = name
			all = append(all, set)
		}
		if err := setter.Set(ctx, all); err != nil {
			return err
		}
	}
	if len(s.schedules) == 0 || s.opts.NoSchedules {
		return nil
	}
	scheduler, ok := s.store.(backend.Scheduler)
	if !ok {
		return fmt.Errorf("%w: %T keeps no schedules, and the program defines %d: set Options.NoSchedules, or use another store",
			errors.ErrUnsupported, s.store, len(s.schedules))
	}
	return s.defineAll(ctx, scheduler)
}

// checkFields returns an error that matches errors.ErrUnsupported if a job of
// the worker has an option that the store does not keep.
func (s *session) checkFields(settings bool) error {
	store := backend.Describe(s.store)
	if !settings { // only a SettingsStore keeps fields of Settings
		store.Fields &= backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending
	}
	for _, name := range s.names {
		if err := s.jobs[name].CheckFields(store); err != nil {
			return err
		}
	}
	return nil
}

// defineAll stores the schedules of this worker. What others do meanwhile may
// keep it from doing so for some; then it tries again.
func (s *session) defineAll(ctx context.Context, scheduler backend.Scheduler) error {
	for range 5 {
		l, err := s.look(ctx, scheduler)
		if err != nil {
			return err
		}
		stored := map[string]backend.Schedule{}
		for _, st := range l.Schedules.Schedules {
			stored[st.Name] = st
		}
		var defs []backend.Schedule
		for _, own := range s.schedules {
			st, some := stored[own.Name]
			def := backend.Schedule{Name: own.Name, Definition: own.definition}
			switch {
			case !some:
				def.Next, some = own.Next(l.Now, own.zone)
			case st.Definition == own.definition && st.RemovedAt.IsZero():
				some = false // a clock that was set back tickDue finds
			default:
				def, err = s.adoptSchedule(ctx, scheduler, own, st, l.Now)
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
		if err := scheduler.Define(ctx, defs); err != nil {
			return err
		}
	}
	return nil
}

// adoptSchedule returns what is to be defined so that a stored schedule is as this worker
// has it. Its next tick stays, unless the ticks come at other times now: then the
// next one does too, after those that are due by the old ones have been taken.
func (s *session) adoptSchedule(ctx context.Context, scheduler backend.Scheduler, own *schedule, stored backend.Schedule, now time.Time) (backend.Schedule, error) {
	def := backend.Schedule{Name: own.Name, Definition: own.definition, Next: stored.Next}
	old, _, ok := engine.TimingOf(stored.Definition)
	if ok && old.Same(own.Timing) {
		return def, nil
	}
	def.Instead = stored.Next
	if !stored.Next.After(now) {
		zone, err := old.Location()
		if !ok || err != nil {
			def.Instead = time.Time{} // the tick that is due is taken as one of this schedule's own
			return def, nil
		}
		if !stored.RemovedAt.IsZero() {
			if err := scheduler.Define(ctx, []backend.Schedule{{Name: own.Name, Definition: stored.Definition, Next: stored.Next}}); err != nil {
				return def, err
			}
		}
		def.Instead, err = s.tickSchedule(ctx, scheduler, own, tickPlan{old, zone, stored.Definition, stored.Next, now, engine.OnTime})
		if errors.As(err, new(unmadeError)) {
			def.Instead = time.Time{} // which tickDue finds, too, and keeps nothing else from being defined
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

// never is the next tick of a schedule that has none.
func never(now time.Time) time.Time { return now.AddDate(100, 0, 0) }

// tickLoop pushes the jobs of schedules when they are due, until ctx ends. Every
// worker that has a schedule tries; the store sees to it that one succeeds.
func (s *session) tickLoop(ctx context.Context) {
	scheduler, ok := s.store.(backend.Scheduler)
	if !ok || len(s.schedules) == 0 {
		return
	}
	pause := newBackoff()
	for ctx.Err() == nil {
		wait, err := s.tickOnce(ctx, scheduler)
		if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrClosed) {
			s.log.warn("push what schedules are due", err)
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

// ticked takes the ticks that are due and reports whether none is left: one
// that could not be taken is tried again, unless its job cannot be made.
func (s *session) ticked(ctx context.Context) bool {
	scheduler, ok := s.store.(backend.Scheduler)
	if !ok || len(s.schedules) == 0 || s.opts.NoSchedules {
		return true
	}
	for again := true; again; {
		wait, err := s.tickOnce(ctx, scheduler)
		if err != nil && ctx.Err() == nil && !permanent(err) {
			s.log.warn("tick", err)
		}
		if wait == 0 {
			return false
		}
		again = wait <= time.Millisecond
	}
	s.ticking.Lock()
	defer s.ticking.Unlock()
	for _, own := range s.schedules {
		if !own.unmade && time.Until(own.retryAt) > 0 {
			return false
		}
	}
	return true
}

// tickOnce takes the ticks that are due and returns how long there will be
// none, or zero if it could not look.
func (s *session) tickOnce(ctx context.Context, scheduler backend.Scheduler) (time.Duration, error) {
	s.ticking.Lock()
	defer s.ticking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.opts.Lease)
	defer cancel()
	l, err := s.look(ctx, scheduler)
	if err != nil {
		return 0, err
	}
	wait := schedulePoll
	var errs []error
	for _, stored := range l.Schedules.Schedules {
		own := s.schedules[stored.Name]
		if own == nil {
			continue
		}
		if left := time.Until(own.retryAt); left > 0 {
			wait = min(wait, left)
			continue
		}
		left, err := s.tickOne(ctx, scheduler, own, stored, l)
		if err != nil { // one that fails keeps no other from its ticks
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

// tickOne takes the ticks of a schedule that are due and returns how long there
// will be none.
func (s *session) tickOne(ctx context.Context, scheduler backend.Scheduler, own *schedule, stored backend.Schedule, l scheduleQuery) (time.Duration, error) {
	due := !stored.Next.After(l.Now)
	other := own.definition != stored.Definition
	if due { // what is to run while its name is paused counts as missed
		paused, err := l.paused()
		if err != nil || paused[""] || paused[own.Job.Name] {
			return pausedLook, err
		}
	}
	switch {
	case !stored.RemovedAt.IsZero(): // this worker was taken for dead meanwhile, and has it
		return 0, s.redefine(ctx, scheduler, own, stored, l.Now)
	case other && l.Now.Sub(stored.Next) <= engine.OnTime+schedulePoll+s.opts.Lease:
		return schedulePoll, nil // the worker that defined it last ticks it
	case other: // a program that was tried out, or deployed and taken back
		s.opts.Logger.Warn("plainjobs: no worker has the schedule as it is stored, so it is as this one has it", "schedule", own.Name)
		return 0, s.redefine(ctx, scheduler, own, stored, l.Now)
	}
	if next, back := own.movedBack(own, stored.Next, l); back {
		s.opts.Logger.Warn("plainjobs: the store's clock was set back; the schedule goes on from the time that it shows now",
			"schedule", own.Name, "next", next, "instead_of", stored.Next)
		def := backend.Schedule{Name: own.Name, Definition: own.definition, Next: next, Instead: stored.Next}
		return 0, scheduler.Define(ctx, []backend.Schedule{def})
	}
	next := stored.Next
	if due {
		fresh := engine.OnTime
		if !own.well.IsZero() {
			fresh = l.answered.Sub(own.well) + time.Second
		}
		var err error
		next, err = s.tickSchedule(ctx, scheduler, own, tickPlan{own.Timing, own.zone, own.definition, stored.Next, l.Now, fresh})
		if err != nil {
			return 0, err
		}
	}
	own.well = l.asked
	own.observe(next, l)
	return next.Sub(l.Now), nil
}

// redefine has a stored schedule be as this worker has it.
func (s *session) redefine(ctx context.Context, scheduler backend.Scheduler, own *schedule, stored backend.Schedule, now time.Time) error {
	def, err := s.adoptSchedule(ctx, scheduler, own, stored, now)
	if err != nil {
		return err
	}
	return scheduler.Define(ctx, []backend.Schedule{def})
}

// A tickPlan is what is due of a schedule.
type tickPlan struct {
	timing     engine.Timing
	zone       *time.Location
	definition string
	due, now   time.Time
	fresh      time.Duration // how late a tick may be that counts as on time
}

// An unmadeError is why there is no job for a tick.
type unmadeError struct{ error }

func (e unmadeError) Unwrap() error { return e.error }

// tickSchedule pushes what is due of a schedule and returns its next tick.
func (s *session) tickSchedule(ctx context.Context, scheduler backend.Scheduler, own *schedule, t tickPlan) (time.Time, error) {
	ticks, left, next, some := t.timing.Due(t.due, t.now, t.zone, own.CatchUp, t.fresh)
	if !some {
		next = never(t.now)
	}
	var jobs []backend.NewJob
	for _, tick := range ticks {
		job, err := own.Make(tick)
		if err != nil {
			return next, unmadeError{err}
		}
		jobs = append(jobs, job)
	}
	for {
		taken, err := scheduler.Tick(ctx, backend.Tick{Name: own.Name, Definition: t.definition, Due: t.due, Next: next, Jobs: jobs})
		at := refusedIndex(err)
		if at < 0 || at >= len(jobs) {
			if taken && left > 0 {
				s.opts.Logger.Info("plainjobs: ticks were missed that are not made up for; see CatchUp",
					"schedule", own.Name, "first", t.due, "at_least", left, "taken", len(jobs))
			}
			return next, err
		}
		// The job's own rules refuse it: that tick passes, the others do not.
		s.opts.Logger.Warn("plainjobs: a tick pushes nothing", "schedule", own.Name, "error", err)
		jobs = slices.Delete(jobs, at, at+1)
	}
}

// An clockWatch is when the next tick of a schedule that follows no clock on a wall
// is to come, by the clock of this process, which is never set.
type clockWatch struct {
	next  time.Time // the stored tick
	since time.Time // when it was first seen
	comes time.Time // at the latest
}

// observe notes the tick to come, unless it is known.
func (e *clockWatch) observe(next time.Time, l scheduleQuery) {
	if !e.next.Equal(next) {
		*e = clockWatch{next, l.answered, l.answered.Add(next.Sub(l.Now))}
	}
}

// movedBack reports whether the store's clock was set back since next was stored,
// so that the schedule goes on otherwise, and the tick to come then.
func (e *clockWatch) movedBack(own *schedule, next time.Time, l scheduleQuery) (time.Time, bool) {
	if own.Every > 0 {
		e.observe(next, l)
		left := e.comes.Sub(l.asked) // at most
		// Clocks that run are not quite as fast as each other.
		slack := engine.ClockSlack + l.asked.Sub(e.since)/1000
		if next.Sub(l.Now)-left > slack {
			// Not the stored tick of before, which another worker may take it for.
			return l.Now.Add(max(left, 0) + time.Microsecond), true
		}
	}
	if !own.Ahead(next, l.Now, own.zone) {
		return time.Time{}, false
	}
	return own.Next(l.Now, own.zone)
}

// refusedIndex returns which job of a push was refused by its key or bound, or -1.
func refusedIndex(err error) int {
	if e := (*backend.DuplicateError)(nil); errors.As(err, &e) {
		return e.Index
	}
	if e := (*backend.QueueFullError)(nil); errors.As(err, &e) {
		return e.Index
	}
	return -1
}
