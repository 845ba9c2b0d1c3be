package engine

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// An EventKind says what happened to a job.
type EventKind uint8

// The kinds of events, those of package plainjobs.
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
)

var eventNames = [...]string{
	"", "pushed", "started", "done", "retried", "snoozed", "released", "failed", "cancelled", "lost", "stuck",
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
}

// Events are the subscribers of a queue. The zero value has none, and then an
// event costs one look.
type Events struct {
	mu   sync.Mutex
	subs atomic.Pointer[[]*func(Event)]
}

// Subscribe has f called with each event until stop is.
func (e *Events) Subscribe(f func(Event)) (stop func()) {
	key := &f
	e.change(func(subs []*func(Event)) []*func(Event) { return append(subs, key) })
	return func() {
		e.change(func(subs []*func(Event)) []*func(Event) {
			return slices.DeleteFunc(subs, func(s *func(Event)) bool { return s == key })
		})
	}
}

func (e *Events) change(f func([]*func(Event)) []*func(Event)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var subs []*func(Event)
	if old := e.subs.Load(); old != nil {
		subs = slices.Clone(*old)
	}
	if subs = f(subs); len(subs) == 0 {
		e.subs.Store(nil)
	} else {
		e.subs.Store(&subs)
	}
}

// Wanted reports whether anybody listens.
func (e *Events) Wanted() bool { return e.subs.Load() != nil }

// Emit tells the subscribers.
func (e *Events) Emit(event Event) {
	if subs := e.subs.Load(); subs != nil {
		for _, f := range *subs {
			(*f)(event)
		}
	}
}
