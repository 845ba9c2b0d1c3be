package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// scheduleLook is how often the schedules are looked at, at least: the store's
// clock may be moved.
const scheduleLook = time.Minute

// A schedule is one that this worker ticks.
type schedule struct {
	*engine.Schedule
	definition string
	zone       *time.Location
	// After an error it is left alone for a time.
	pause  *pause
	again  time.Time
	unmade bool // the error was that of its job's own functions
}

// schedulesOf returns the schedules whose jobs are among jobs, or an error
// that names a zone that is not known.
func schedulesOf(jobs map[string]*engine.Definition) (all map[string]*schedule, err error) {
	all = map[string]*schedule{}
	for _, s := range engine.Schedules() {
		if jobs[s.Job.Name] != s.Job {
			continue
		}
		zone, err := s.Location()
		if err != nil {
			return nil, err
		}
		all[s.Name] = &schedule{Schedule: s, definition: s.Definition(), zone: zone, pause: newPause()}
	}
	return all, nil
}

// introduce stores what this worker says of its jobs and schedules. The worker
// that starts last says what holds.
func (s *session) introduce(ctx context.Context) error {
	if setter, ok := s.store.(backend.Setter); ok {
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
		return fmt.Errorf("%w: %T keeps no schedules, and there are some: leave their jobs out of Options.Jobs", backend.ErrInvalid, s.store)
	}
	stored, err := scheduler.Schedules(ctx)
	if err != nil {
		return err
	}
	var defs []backend.Schedule
	for _, own := range s.schedules {
		next, some := own.Next(stored.Now, own.zone)
		if some {
			defs = append(defs, backend.Schedule{Name: own.Name, Definition: own.definition, Next: next})
		}
	}
	return scheduler.Define(ctx, defs)
}

// tick pushes the jobs of schedules when they are due, until ctx ends. Every
// worker that has a schedule tries; the store sees to it that one succeeds.
func (s *session) tick(ctx context.Context) {
	scheduler, ok := s.store.(backend.Scheduler)
	if !ok || len(s.schedules) == 0 {
		return
	}
	pause := newPause()
	for ctx.Err() == nil {
		wait, err := s.tickDue(ctx, scheduler)
		if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrClosed) {
			s.log.complain("push what schedules are due", err)
		}
		if wait == 0 {
			pause.sleep(ctx)
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
		wait, err := s.tickDue(ctx, scheduler)
		if err != nil && ctx.Err() == nil && !permanent(err) {
			s.log.complain("tick", err)
		}
		if wait == 0 {
			return false
		}
		again = wait <= time.Millisecond
	}
	s.ticking.Lock()
	defer s.ticking.Unlock()
	for _, own := range s.schedules {
		if !own.unmade && time.Until(own.again) > 0 {
			return false
		}
	}
	return true
}

// tickDue takes the ticks that are due and returns how long there will be
// none, or zero if it could not look.
func (s *session) tickDue(ctx context.Context, scheduler backend.Scheduler) (time.Duration, error) {
	s.ticking.Lock()
	defer s.ticking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.opts.Lease)
	defer cancel()
	all, err := scheduler.Schedules(ctx)
	if err != nil {
		return 0, err
	}
	wait := scheduleLook
	var errs []error
	for _, stored := range all.Schedules {
		own := s.schedules[stored.Name]
		if own == nil {
			continue
		}
		if left := time.Until(own.again); left > 0 {
			wait = min(wait, left)
			continue
		}
		next, err := stored.Next, error(nil)
		from, anew := s.anew(own, stored, all.Now)
		switch {
		case anew:
			first, some := own.Next(from, own.zone)
			if !some {
				continue
			}
			err = scheduler.Define(ctx, []backend.Schedule{{Name: own.Name, Definition: own.definition, Next: first}})
			next = all.Now // look again
		case own.definition != stored.Definition:
			continue
		case !next.After(all.Now):
			next, err = s.take(ctx, scheduler, own, next, all.Now)
		}
		if err != nil { // one that fails keeps no other from its ticks
			errs = append(errs, fmt.Errorf("schedule %s: %w", own.Name, err))
			own.unmade = errors.As(err, new(unmadeError))
			left := own.pause.grow()
			own.again, wait = time.Now().Add(left), min(wait, left)
			continue
		}
		own.pause.reset()
		wait = min(wait, max(next.Sub(all.Now), time.Millisecond))
	}
	return wait, errors.Join(errs...)
}

// anew reports whether a schedule is to be defined by this worker although it has
// been running, and the time after which its next tick is.
func (s *session) anew(own *schedule, stored backend.Schedule, now time.Time) (from time.Time, anew bool) {
	switch {
	case !stored.RemovedAt.IsZero():
		return now, true // this worker was taken for dead meanwhile, and has it
	case own.definition != stored.Definition:
		// Whoever defined it last ticks it, unless there is nobody any more: a
		// program that was tried out, or deployed and taken back.
		anew = now.Sub(stored.Next) > engine.OnTime+scheduleLook+s.opts.Lease
		if anew {
			s.opts.Logger.Warn("plainjobs: no worker has the schedule as it is stored, so it is as this one has it", "schedule", own.Name)
		}
		return stored.Next.Add(-max(own.Every, time.Microsecond)), anew // what was missed counts
	}
	first, some := own.Next(now, own.zone)
	return now, some && stored.Next.Sub(first) >= backend.MaxAhead // the clock was set back
}

// An unmadeError is why there is no job for a tick.
type unmadeError struct{ error }

func (e unmadeError) Unwrap() error { return e.error }

// take pushes what is due of a schedule and returns its next tick.
func (s *session) take(ctx context.Context, scheduler backend.Scheduler, own *schedule, due, now time.Time) (time.Time, error) {
	ticks, next, some := own.Due(due, now, own.zone)
	if !some {
		next = now.AddDate(100, 0, 0)
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
		_, err := scheduler.Tick(ctx, backend.Tick{Name: own.Name, Definition: own.definition, Due: due, Next: next, Jobs: jobs})
		at := refused(err)
		if at < 0 || at >= len(jobs) {
			return next, err
		}
		// The job's own rules refuse it: that tick passes, the others do not.
		s.opts.Logger.Warn("plainjobs: a tick pushes nothing", "schedule", own.Name, "error", err)
		jobs = slices.Delete(jobs, at, at+1)
	}
}

// refused returns which job of a push was refused by its key or bound, or -1.
func refused(err error) int {
	if e := (*backend.DuplicateError)(nil); errors.As(err, &e) {
		return e.Index
	}
	if e := (*backend.QueueFullError)(nil); errors.As(err, &e) {
		return e.Index
	}
	return -1
}
