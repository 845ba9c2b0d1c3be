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
	if err != nil || len(all.Schedules) == 0 {
		return err
	}
	paused, err := pausesOf(ctx, q)
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

func shown(t time.Time) string { return t.UTC().Format(time.RFC3339) }
