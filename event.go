package plainjobs

import (
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// An Event is something that happened to a job in this process.
type Event struct {
	Kind EventKind
	Job  Info
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
	EventCancelled                      // by its handler, an operator, or because it expired
	EventLost                           // the run's lease
	EventStuck                          // its handler ignores the end of its context
)

// String returns the kind as a word, as "done".
func (k EventKind) String() string { return engine.EventKind(k).String() }

// Subscribe has f called with each event of this process until stop is called.
// It is called by who performs or runs the job, so it must be quick, must not
// block, and may be called by several goroutines at once.
func (q *Queue) Subscribe(f func(Event)) (stop func()) {
	return q.engine.Events.Subscribe(func(e engine.Event) {
		f(Event{Kind: EventKind(e.Kind), Job: infoOfRun(e.Job), Err: e.Err, Took: e.Took, In: e.In})
	})
}
