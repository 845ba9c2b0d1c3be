package plainjobs

import (
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// An Event is something that happened to a job in this process.
type Event struct {
	Kind EventKind
	// Job is the job after the event, see [Info]. Attempt is the attempt of the run, and 1
	// for EventPushed. Errors has only the error of this run. The times at which the job
	// was pushed, started, ended, or runs again are by this process's clock. Crashes,
	// Worker, Cancelling, KeyUntil, BlockedBy, the progress and earlier errors are zero,
	// because only the store has them; [Queue.Get] returns them. For the same reason a job
	// that was just pushed is shown as [Blocked] only if it is a callback of a group. The
	// payload must not be modified.
	Job Info
	// Err is the error of the run, or nil if it succeeded.
	Err error
	// Took is the duration of the run, once it has ended.
	Took time.Duration
	// In is the time until the job runs again, for EventRetried and EventSnoozed.
	In time.Duration
	// Action is what a person did, for EventActed. Job is zero then.
	Action *Action
}

// An Action is what a person did in the dashboard. ID identifies it. By is the person, What
// the action, and On the jobs, name or schedule. Jobs is how many jobs were changed, of
// Total, which is negative if it is not known. End says how the action ended, and is empty
// while it goes on. At is when it began, and SeenAt when its process recorded it last.
type Action = backend.Action

// An EventKind says what happened.
type EventKind uint8

// The kinds of events. The end of a run is an event when the handler returns, shortly
// before it is stored.
const (
	EventPushed    EventKind = iota + 1 // by Perform or PerformMany, outside a transaction
	EventStarted                        // a run started
	EventDone                           // the job is done
	EventRetried                        // the run failed, and the job will be retried
	EventSnoozed                        // postponed by its handler
	EventReleased                       // the run was interrupted, and the job released
	EventFailed                         // the job failed
	EventCancelled                      // a claimed job was cancelled: by its handler, by an operator, or because it expired before its run started
	EventLost                           // the run's lease was lost
	EventStuck                          // the handler ignores the end of its context
	EventActed                          // a person changed something in a dashboard of this Queue
)

// String returns the kind as a word, for example "done".
func (k EventKind) String() string { return engine.EventKind(k).String() }

// Subscribe calls f with each event of this Queue and its workers, until stop is called.
// Changes that the store makes outside a run cause no event: a waiting job comes due or
// expires, or a job of a dead worker is rescued. The goroutines that perform or run jobs
// call f, several at the same time. f must be quick, and must not block or panic. While
// f blocks, its goroutine runs no other job, and after five seconds the log says so.
// Subscribe panics if f is nil.
func (q *Queue) Subscribe(f func(Event)) (stop func()) {
	if f == nil {
		panic(fmt.Sprintf("plainjobs: %s: Subscribe with a nil function", caller()))
	}
	return q.engine().Events.Subscribe(caller(), func(e engine.Event) {
		if e.Action != nil {
			f(Event{Kind: EventKind(e.Kind), Action: e.Action})
			return
		}
		f(Event{Kind: EventKind(e.Kind), Job: infoOfEvent(&e), Err: e.Err, Took: e.Took, In: e.In})
	})
}

// infoOfEvent returns the Info of a job after an event that happens now.
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
		if info.CallbackOf != 0 || info.needs != 0 {
			info.State = Blocked
		}
		return info
	}
	if e.Kind == engine.Done {
		info.State = Done
	}
	if f := e.Failure; f != nil {
		info.State = lifecycle.StateAfter(f.Ending, f.Delay)
		if lifecycle.SpendsAttempt(f.Ending) {
			info.Failures++
		}
		if f.Error != "" {
			info.Errors = []RunError{{Attempt: info.Attempt, At: now, Error: backend.CleanError(f.Error), Stack: backend.CleanError(f.Stack),
				Took: f.Took.Truncate(time.Microsecond), Worker: f.Worker}}
		}
		if f.Ending == backend.EndRetry || f.Ending == backend.EndSnooze || f.Ending == backend.EndSleep {
			info.RunAt = now.Add(f.Delay)
		}
	}
	info.Suspect = info.Suspect && (info.State == Running || e.Kind == engine.Released)
	info.Result = encrypt.Text(e.Result)
	if !e.Began.IsZero() && !info.State.Waits() {
		info.StartedAt = instantOf(e.Began)
	}
	if info.State.Terminal() {
		info.FinishedAt = now
	}
	return info
}

// instantOf returns a time of this process with the precision of a store.
func instantOf(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
