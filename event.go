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
type EventKind = engine.EventKind

// The kinds of events. What a run ends with is told when its handler returns,
// shortly before it is stored.
const (
	EventPushed    = engine.Pushed // by Perform or PerformMany, not in a transaction
	EventStarted   = engine.Started
	EventDone      = engine.Done
	EventRetried   = engine.Retried
	EventSnoozed   = engine.Snoozed
	EventReleased  = engine.Released // interrupted, and handed back
	EventFailed    = engine.Failed   // for good
	EventCancelled = engine.Cancelled
	EventLost      = engine.Lost  // its lease
	EventStuck     = engine.Stuck // its handler ignores the end of its context
)

// Subscribe has f called with each event of this process until stop is called.
// It is called by who performs or runs the job, so it must be quick, must not
// block, and may be called by several goroutines at once.
func (q *Queue) Subscribe(f func(Event)) (stop func()) {
	return q.engine.Events.Subscribe(func(e engine.Event) {
		f(Event{Kind: e.Kind, Job: infoOfRun(e.Job), Err: e.Err, Took: e.Took, In: e.In})
	})
}
