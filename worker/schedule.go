package worker

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A schedule is a schedule of this worker's program.
type schedule struct {
	*engine.Schedule
	definition string
	zone       *time.Location
	// After an error the worker does not tick it before retryAt.
	backoff  *backoff
	retryAt  time.Time
	unmade   bool      // the error came from the functions of its job
	upToDate time.Time // when it last had no due tick
	clockWatch
}

// schedulesOf returns the schedules of the jobs. If they will tick, an unknown time zone
// is an error.
func schedulesOf(defined []*engine.Schedule, jobs map[string]*engine.Definition, ticked bool) (all map[string]*schedule, err error) {
	all = map[string]*schedule{}
	for _, s := range defined {
		if d := jobs[s.Job.Name]; d == nil || d.Root() != s.Job {
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

// A scheduleQuery is the stored schedules, and when they were read.
type scheduleQuery struct {
	backend.Schedules
	asked, answered time.Time // by the clock of this process
	// paused returns which names are paused, read once.
	paused func() (map[string]bool, error)
}

// never is the next tick of a schedule that has none.
func never(now time.Time) time.Time { return now.AddDate(100, 0, 0) }

// A tickPlan is a schedule with a tick that is due.
type tickPlan struct {
	timing     engine.Timing
	zone       *time.Location
	definition string
	due, now   time.Time
	onTime     time.Duration // how late a tick may be and not count as missed
}

// An unmadeError is an error of the functions that make a tick's job.
type unmadeError struct{ error }

func (e unmadeError) Unwrap() error { return e.error }

// A clockWatch is when the next tick of a schedule with an interval comes by the
// monotonic clock of this process. It detects that the store's clock was set back.
type clockWatch struct {
	next  time.Time // the stored tick
	since time.Time // when it was first seen
	comes time.Time // when it comes, at the latest
}

// observe notes the next tick, unless it is known.
func (e *clockWatch) observe(next time.Time, l scheduleQuery) {
	if !e.next.Equal(next) {
		*e = clockWatch{next, l.answered, l.answered.Add(next.Sub(l.Now))}
	}
}

// movedBack reports whether the store's clock was set back since next was stored, and
// returns the next tick then.
func (e *clockWatch) movedBack(own *schedule, next time.Time, l scheduleQuery) (time.Time, bool) {
	if own.Every > 0 {
		e.observe(next, l)
		left := e.comes.Sub(l.asked) // at most
		// Two clocks do not run at exactly the same rate.
		slack := engine.ClockSlack + l.asked.Sub(e.since)/1000
		if next.Sub(l.Now)-left > slack {
			// It must differ from the stored tick, so that no worker confuses them.
			return l.Now.Add(max(left, 0) + time.Microsecond), true
		}
	}
	if !own.Ahead(next, l.Now, own.zone) {
		return time.Time{}, false
	}
	return own.Next(l.Now, own.zone)
}
