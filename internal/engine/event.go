package engine

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// An EventKind says what happened to a job.
type EventKind uint8

// The kinds of events. They equal those of package plainjobs.
const (
	Pushed EventKind = iota + 1
	Started
	Done
	Retried
	Snoozed
	Released
	Failed
	Cancelled
	Lost
	Stuck
	Acted
)

var eventNames = [...]string{
	"", "pushed", "started", "done", "retried", "snoozed", "released", "failed", "cancelled", "lost", "stuck", "acted",
}

// String returns the kind as a word.
func (k EventKind) String() string { return eventNames[k] }

// An Event is something that happened to a job.
type Event struct {
	Kind EventKind
	Job  *backend.Job
	Err  error
	Took time.Duration
	In   time.Duration
	// Began is when the run started, or zero if it did not. Failure is how it ended,
	// unless it succeeded. Result is its result.
	Began   time.Time
	Failure *backend.Failure
	Result  []byte
	// Action is what a person did, of Acted; Job is empty then.
	Action *backend.Action
}

// FailureKinds are the events of runs that fail, by how they end.
var FailureKinds = map[backend.Ending]EventKind{
	backend.EndRetry: Retried, backend.EndSnooze: Snoozed, backend.EndSleep: Snoozed, backend.EndRelease: Released,
	backend.EndFailed: Failed, backend.EndCancelled: Cancelled,
}

// EventOf returns the event of a run of a job that ended with err: the job is done if f is
// nil.
func EventOf(job *backend.Job, f *backend.Failure, err error) Event {
	e := Event{Kind: Done, Job: job, Err: err, Failure: f}
	if f != nil {
		e.Kind, e.In, e.Result = FailureKinds[f.Ending], f.Delay, f.Result
	}
	return e
}

// Events are the subscribers of a queue. The zero value has none, and then an event
// costs one atomic load.
type Events struct {
	mu   sync.Mutex
	subs atomic.Pointer[[]*subscriber]
}

// A subscriber is a function that gets the events.
type subscriber struct {
	where string // file:line that subscribed it
	tell  func(Event)
}

// Subscribe calls f, which the code at where passed, with each event until stop is
// called.
func (e *Events) Subscribe(where string, f func(Event)) (stop func()) {
	key := &subscriber{where, f}
	e.change(func(subs []*subscriber) []*subscriber { return append(subs, key) })
	return func() {
		e.change(func(subs []*subscriber) []*subscriber {
			return slices.DeleteFunc(subs, func(s *subscriber) bool { return s == key })
		})
	}
}

func (e *Events) change(f func([]*subscriber) []*subscriber) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var subs []*subscriber
	if old := e.subs.Load(); old != nil {
		subs = slices.Clone(*old)
	}
	if subs = f(subs); len(subs) == 0 {
		e.subs.Store(nil)
	} else {
		e.subs.Store(&subs)
	}
}

// Wanted reports whether there are subscribers.
func (e *Events) Wanted() bool { return e.subs.Load() != nil }

// slowSubscriber is how long a subscriber may take before the log reports it.
const slowSubscriber = 5 * time.Second

// Emit calls the subscribers. It logs one that does not return: a slot, or the caller
// that performs the job, waits for it.
func (e *Events) Emit(log *slog.Logger, event Event) {
	if subs := e.subs.Load(); subs != nil {
		for _, s := range *subs {
			s.call(log, event)
		}
	}
}

func (s *subscriber) call(log *slog.Logger, event Event) {
	slow := time.AfterFunc(slowSubscriber, func() {
		log.Warn("plainjobs: a subscriber to events has not returned; the job's slot, or the call that performs the job, waits for it",
			slog.String("subscriber", s.where), slog.String("event", event.Kind.String()), slog.String("job", event.Job.Name),
			slog.Int64("id", event.Job.ID), slog.Duration("for", slowSubscriber))
	})
	defer slow.Stop()
	s.tell(event)
}
