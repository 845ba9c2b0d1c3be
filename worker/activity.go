package worker

import (
	"cmp"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/histogram"
)

// maxActivity bounds the activity in one heartbeat. The next heartbeat has the rest.
const maxActivity = 1000

// An activity counts the runs that have ended, by name and minute. The heartbeat after
// a minute stores its counts. A process that is killed loses those of at most a minute
// and a heartbeat interval. The dispatcher's mutex guards it.
type activity struct {
	ahead  time.Duration                 // how far the store's clock is ahead of this process's
	minute int64                         // that is being counted, in minutes of Unix time
	counts map[*engine.Definition]*count // nil if the store keeps no activity
	ended  []backend.Activity            // of minutes that are over, not stored yet
}

// A count counts the runs of one name in one minute.
type count struct {
	name                             string
	done, retried, failed, cancelled int64
	waited, ran                      histogram.Histogram
}

func newActivity(store backend.Backend) activity {
	if _, ok := store.(backend.Heartbeater); !ok {
		return activity{}
	}
	return activity{counts: map[*engine.Definition]*count{}}
}

// record counts a run that has ended, unless its job was snoozed or released: the next
// run counts.
func (a *activity) record(e outcome) {
	if a.counts == nil {
		return
	}
	if f := e.failure; f != nil && (f.Ending == backend.EndSnooze || f.Ending == backend.EndSleep || f.Ending == backend.EndRelease) {
		return
	}
	began := e.run.ctx.Info.Began.Add(a.ahead)
	if minute := began.Add(e.took).Unix() / 60; minute > a.minute || minute < a.minute-1 {
		a.turn(minute, began)
	}
	c := a.counts[e.run.def]
	if c == nil {
		c = &count{name: e.run.def.Name}
		a.counts[e.run.def] = c
	}
	switch {
	case e.failure == nil:
		c.done++
	case e.failure.Ending == backend.EndRetry:
		c.retried++
	case e.failure.Ending == backend.EndFailed:
		c.failed++
	default:
		c.cancelled++
	}
	if !e.unstarted {
		c.waited.Record(began.Sub(claimable(e.run.job)))
		c.ran.Record(e.took)
	}
}

// claimable returns when a job became claimable. RunAt of a job with a fair key is its turn, which may
// be before its push.
func claimable(j *backend.Job) time.Time {
	if j.RunAt.Before(j.CreatedAt) {
		return j.CreatedAt
	}
	return j.RunAt
}

// turn ends the minute that is being counted, begins another, and forgets minutes that
// the store would ignore at now, by its clock.
func (a *activity) turn(minute int64, now time.Time) {
	at := time.Unix(a.minute*60, 0).UTC()
	a.minute = minute
	for _, c := range a.counts {
		a.ended = append(a.ended, backend.Activity{
			Name: c.name, At: at, Done: c.done, Retried: c.retried, Failed: c.failed, Cancelled: c.cancelled,
			Waited: c.waited.Append(nil), Ran: c.ran.Append(nil),
		})
	}
	// After a clock was set back, a minute is counted twice.
	a.ended = lifecycle.MergeActivity(slices.DeleteFunc(a.ended, func(m backend.Activity) bool { return !lifecycle.TakesActivity(m.At, now) }))
	a.counts = make(map[*engine.Definition]*count, len(a.counts))
}

// unstored returns minutes that are over and not stored, at most maxActivity of them.
// With last set, the current minute is over too.
func (a *activity) unstored(last bool) []backend.Activity {
	if a.counts == nil {
		return nil
	}
	now := time.Now().Add(a.ahead)
	if minute := now.Unix() / 60; minute != a.minute || last {
		a.turn(minute, now)
	}
	return slices.Clone(a.ended[:min(len(a.ended), maxActivity)])
}

// stored forgets what unstored returned.
func (a *activity) stored(sent []backend.Activity) {
	a.ended = slices.DeleteFunc(a.ended, func(m backend.Activity) bool {
		_, found := slices.BinarySearchFunc(sent, m, func(s, m backend.Activity) int { return cmp.Or(s.At.Compare(m.At), cmp.Compare(s.Name, m.Name)) })
		return found
	})
}

// unstoredActivity is [activity.unstored].
func (d *dispatcher) unstoredActivity(last bool) []backend.Activity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.activity.unstored(last)
}

// activityStored forgets activity that the store has, and notes how far the store's
// clock is ahead.
func (d *dispatcher) activityStored(sent []backend.Activity, ahead time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.activity.ahead = ahead
	d.activity.stored(sent)
}
