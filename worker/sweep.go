package worker

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

const (
	sweepPage  = 1000
	sweepPause = 5 * time.Second // between two pages, unless the sweep hurries
)

// A sweep goes through all stored schedules, for ticks that are too far ahead because the store's
// clock was set back: once after a worker starts, and when the worker sees that happen.
type sweep struct {
	runs, hurries bool
	after         string // the name before the next page
	moved         int
}

// sweepOn checks a page, and returns the time to the next.
func (t *storedTicker) sweepOn(ctx context.Context) (time.Duration, error) {
	page, err := t.scheduler.StoredSchedules(ctx, backend.StoredRequest{After: t.sweep.after, Limit: sweepPage})
	if err != nil {
		return 0, err
	}
	for i := range page.Schedules {
		s := &page.Schedules[i]
		plan, err := engine.PlanOf(s)
		if err != nil || !plan.Ahead(s.Next, page.Now, plan.Location) {
			continue
		}
		if err := t.bringBack(ctx, s, plan); err != nil {
			return 0, err
		}
	}
	if n := len(page.Schedules); n == sweepPage {
		t.sweep.after = page.Schedules[n-1].Name
		if t.sweep.hurries {
			return 0, nil
		}
		return sweepPause, nil
	}
	if t.sweep.moved > 0 {
		t.opts.Logger.Warn("plainjobs: the store's clock was set back; stored schedules continue from its present time", "schedules", t.sweep.moved)
	}
	t.sweep = sweep{}
	return storedPoll, nil
}

// bringBack makes the next tick of a schedule the first one from now, unless it has changed.
func (t *storedTicker) bringBack(ctx context.Context, seen *backend.StoredSchedule, plan engine.StoredPlan) error {
	moved := false
	err := t.scheduler.ChangeSchedule(ctx, nil, seen.Name, func(now time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
		moved = s != nil && s.Definition == seen.Definition && plan.Ahead(s.Next, now, plan.Location)
		if moved {
			s.Next, _ = plan.Next(now, plan.Location)
			s.Look = s.Next
		}
		return s, nil
	})
	if err == nil && moved {
		t.sweep.moved++
	}
	return err
}
