package memory

import (
	"context"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// An activity is what workers did, by minute and by hour.
type activity struct {
	minutes map[activityKey]backend.Activity
	hours   []backend.Activity
}

// An activityKey identifies what a worker sent of a name and a minute.
type activityKey struct {
	at     time.Time
	name   string
	worker int64
}

// add stores what a worker sent in a heartbeat.
func (a *activity) add(worker int64, sent []backend.Activity, now time.Time) {
	for _, s := range sent {
		if !lifecycle.TakesActivity(s.At, now) {
			continue
		}
		if a.minutes == nil {
			a.minutes = map[activityKey]backend.Activity{}
		}
		s.At = s.At.UTC()
		s.Waited, s.Ran = slices.Clone(s.Waited), slices.Clone(s.Ran)
		a.minutes[activityKey{s.At, s.Name, worker}] = s
	}
}

// fold merges old minutes by the hour and deletes old hours.
func (a *activity) fold(now time.Time) {
	oldest := lifecycle.OldestMinute(now)
	var old []backend.Activity
	for k, m := range a.minutes {
		if m.At.Before(oldest) {
			old = append(old, m)
			delete(a.minutes, k)
		}
	}
	if len(old) > 0 {
		a.hours = lifecycle.ActivityByHour(append(a.hours, old...))
	}
	first := now.Add(-backend.KeepHours).Truncate(time.Hour)
	a.hours = slices.DeleteFunc(a.hours, func(h backend.Activity) bool { return h.At.Before(first) })
}

// Activity implements [backend.Reader].
func (b *Backend) Activity(ctx context.Context, req backend.ActivityRequest) (backend.Activities, error) {
	if err := b.enter(ctx, "activity"); err != nil {
		return backend.Activities{}, err
	}
	defer b.mu.Unlock()
	now := lifecycle.Time(b.now())
	since := now.Add(-req.Past)
	var all []backend.Activity
	for _, m := range b.activity.minutes {
		all = append(all, m)
	}
	if req.Hours {
		all = lifecycle.ActivityByHour(append(all, b.activity.hours...))
	} else {
		all = lifecycle.MergeActivity(all)
	}
	all = slices.DeleteFunc(all, func(a backend.Activity) bool { return a.At.Before(since) })
	return backend.Activities{Activities: all, Now: now}, nil
}
