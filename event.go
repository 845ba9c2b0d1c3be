package plainjobs

import (
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// An Event is something that happened to a job in this process.
type Event struct {
	Kind EventKind
	// Job as it is after the event; times of one that was just pushed are
	// those of this process, and whether it is Blocked is not known yet.
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
	return q.engine.Events.Subscribe(caller(), func(e engine.Event) {
		info := infoOfRun(e.Job)
		info.State = after[EventKind(e.Kind)]
		if e.Kind == engine.Pushed && info.RunAt.After(info.CreatedAt) || e.Kind == engine.Retried && e.In > 0 {
			info.State = Scheduled
		}
		f(Event{Kind: EventKind(e.Kind), Job: info, Err: e.Err, Took: e.Took, In: e.In})
	})
}

// after are the states of jobs after events.
var after = map[EventKind]State{
	EventPushed: Pending, EventStarted: Running, EventDone: Done, EventRetried: Pending, EventSnoozed: Scheduled,
	EventReleased: Pending, EventFailed: Failed, EventCancelled: Cancelled, EventLost: Running, EventStuck: Running,
}
