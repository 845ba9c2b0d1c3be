package doctor

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// late is how long a tick may be overdue. It includes the interval in which workers
// look for ticks, and their lease.
const late = 3 * time.Minute

// ticks adds overdue ticks, and a clock that was set back.
func (r *Report) ticks(ctx context.Context, q *plainjobs.Queue) error {
	scheduler, ok := storeOf(q).(backend.Scheduler)
	if !ok {
		return nil
	}
	all, err := scheduler.Schedules(ctx)
	if err != nil {
		return err
	}
	paused, err := pausesOf(ctx, q)
	if err == nil {
		err = r.storedTicks(ctx, scheduler, paused)
	}
	if err != nil {
		return err
	}
	for _, s := range all.Schedules {
		_, job, _ := engine.TimingOf(s.Definition)
		held := s.Paused || paused[""] || paused[job] || !s.RemovedAt.IsZero()
		switch {
		case s.Last.Sub(all.Now) > time.Second:
			r.Bad("clock", "correct the clock", "set back: the last tick of %s was at %s, but now is %s; its next tick is at %s",
				s.Name, shown(s.Last), shown(all.Now), shown(s.Next))
		case !held && all.Now.Sub(s.Next) > late:
			r.Bad("schedules", "start a worker of a program that defines it", "%s: the tick of %s is overdue", s.Name, shown(s.Next))
		}
	}
	return nil
}

// storedShown is how many stored schedules are shown by name.
const storedShown = 3

// storedTicks adds stored schedules that no worker ticks.
func (r *Report) storedTicks(ctx context.Context, scheduler backend.Scheduler, paused map[string]bool) error {
	due, err := scheduler.StoredSchedules(ctx, backend.StoredRequest{Due: true, Limit: 1}) // the longest due
	if err != nil {
		return err
	}
	for _, s := range due.Schedules {
		if overdue := due.Now.Sub(s.Look); !s.Paused && !paused[""] && overdue > late {
			r.Bad("schedules", "start a worker that ticks schedules", "%s: no worker has looked at the tick of %s", s.Name, shown(s.Next))
		}
	}
	bad, err := scheduler.StoredSchedules(ctx, backend.StoredRequest{Problems: true, Limit: storedShown + 1})
	for i, s := range bad.Schedules {
		if i == storedShown {
			r.Bad("schedules", "schedules lists them", "more stored schedules do not tick")
			break
		}
		r.Bad("schedules", "set it again, or correct the system of the workers", "%s does not tick: %s", s.Name, s.Problem)
	}
	return err
}

func shown(t time.Time) string { return t.UTC().Format(time.RFC3339) }
