package plainjobs

import (
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// An Event is something that happened to a job in this process.
type Event struct {
	Kind EventKind
	// Job as it is after the event, see [Info]. Attempt is that of the run, the
	// first for EventPushed. Errors has the error of this run alone. What
	// happens with the event is told by this process's clock: when the job was
	// pushed, started, ended, or is to run again. Only the store knows Crashes,
	// Worker, Cancelling, KeyUntil, BlockedBy (a job that was just pushed is not
	// shown as [Blocked]), the progress, and earlier errors: they are zero here,
	// and [Queue.Get] shows them. The payload must not be modified.
	Job Info
	// Err is what the run ended with, if that was no success.
	Err error
	// Took is how long the run took, once it has ended.
	Took time.Duration
	// In is when the job will run again, for EventRetried and EventSnoozed.
	In time.Duration
}

// An EventKind says what happened.
type EventKind uint8

// The kinds of events. What a run ends with is told when its handler returns,
// shortly before it is stored.
const (
	EventPushed    EventKind = iota + 1 // by Perform or PerformMany, not in a transaction
	EventStarted                        // a run
	EventDone                           // a run, and the job
	EventRetried                        // failed, and will be tried again
	EventSnoozed                        // put off by its handler
	EventReleased                       // interrupted, and handed back
	EventFailed                         // for good
	EventCancelled                      // a run: by its handler, an operator, or because it expired
	EventLost                           // the run's lease
	EventStuck                          // its handler ignores the end of its context
)

// String returns the kind as a word, as "done".
func (k EventKind) String() string { return engine.EventKind(k).String() }

// Subscribe has f called with each event of this Queue and its workers until
// stop is called; what the store does by itself, to jobs that wait or whose
// worker is dead, is no event. It is called by who performs or runs the job, so
// it must be quick, must not block or panic, and may be called by several
// goroutines at once. While it blocks, the job's slot runs nothing else; after
// five seconds the log says so. A nil f panics.
func (q *Queue) Subscribe(f func(Event)) (stop func()) {
	if f == nil {
		panic(fmt.Sprintf("plainjobs: %s: Subscribe with a nil function", caller()))
	}
	return q.engine().Events.Subscribe(caller(), func(e engine.Event) {
		f(Event{Kind: EventKind(e.Kind), Job: infoOfEvent(&e), Err: e.Err, Took: e.Took, In: e.In})
	})
}

// infoOfEvent is the Info of a job after an event that happens now.
func infoOfEvent(e *engine.Event) Info {
	info := infoOfRun(e.Job)
	now := instantOf(time.Now())
	if e.Kind == engine.Pushed {
		if e.Job.Expires > 0 {
			info.ExpiresAt = info.CreatedAt.Add(e.Job.Expires)
		}
		info.State = Pending
		if info.RunAt.After(info.CreatedAt) {
			info.State = Scheduled
		}
		return info
	}
	if e.Kind == engine.Done {
		info.State = Done
	}
	if f := e.Failure; f != nil {
		info.State = f.Ending.State(f.Delay)
		if f.Ending.Spends() {
			info.Failures++
		}
		if f.Error != "" {
			info.Errors = []RunError{{Attempt: info.Attempt, At: now, Error: backend.CleanError(f.Error), Stack: backend.CleanError(f.Stack)}}
		}
		if f.Ending == backend.EndRetry || f.Ending == backend.EndSnooze {
			info.RunAt = now.Add(f.Delay)
		}
	}
	info.Suspect = info.Suspect && (info.State == Running || e.Kind == engine.Released)
	info.Result = e.Result
	if !e.Began.IsZero() && !info.State.Waits() {
		info.StartedAt = instantOf(e.Began)
	}
	if info.State.Terminal() {
		info.FinishedAt = now
	}
	return info
}

// instantOf returns a time of this process as a store would show it.
func instantOf(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
