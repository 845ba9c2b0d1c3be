// Package memory is the reference implementation of [backend.Backend]. It keeps jobs in
// the process, for tests and for work that may be lost with the process.
//
// It uses only time, mutexes and channels, so it works inside a testing/synctest
// bubble, where a day passes at once.
package memory

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Options of a Backend. The zero value is ready.
type Options struct {
	// Clock replaces time.Now.
	Clock func() time.Time
	// History says how long finished jobs are kept.
	History backend.History
}

// A Backend keeps jobs in memory.
type Backend struct {
	clock   func() time.Time
	foreign bool // Clock was set, so the runtime's timers do not follow it
	history backend.History

	mu          sync.Mutex
	closed      bool
	paused      bool
	environment string // environment
	lastID      int64
	token       int64
	jobs        table
	names       map[string]*name
	due         queue // scheduled jobs by time
	expiries    queue // waiting jobs by the time they expire
	holds       queue // finished jobs that keep their unique keys, by the end of that time
	workers     map[int64]*worker
	schedules   map[string]*backend.Schedule
	stored      map[string]*backend.StoredSchedule
	looks       looks // of stored
	gates       map[int64]*gate
	lastGate    int64
	gateWork    []*gate // whose waiters may be let through
	activity    activity
	actions     []backend.Action // the latest
	lastAction  int64
	concurrency map[string]int // that overrides have
	signals     map[backend.SignalKey]backend.Signal
	awaiting    map[backend.SignalKey]map[*job]struct{} // the jobs that wait for a signal
	changed     chan struct{}                           // closed when a waiter should check again
	waiters     int
}

var (
	_ backend.Backend        = (*Backend)(nil)
	_ backend.Heartbeater    = (*Backend)(nil)
	_ backend.Reader         = (*Backend)(nil)
	_ backend.SettingsStore  = (*Backend)(nil)
	_ backend.Scheduler      = (*Backend)(nil)
	_ backend.Operator       = (*Backend)(nil)
	_ backend.Waiter         = (*Backend)(nil)
	_ backend.Describer      = (*Backend)(nil)
	_ backend.ExportImporter = (*Backend)(nil)
	_ backend.GateStore      = (*Backend)(nil)
	_ backend.StepStore      = (*Backend)(nil)
	_ io.Closer              = (*Backend)(nil)
)

// New returns an empty store; nil options are the defaults. It panics if the options are
// invalid.
func New(opts *Options) *Backend {
	if opts == nil {
		opts = &Options{}
	}
	history, err := lifecycle.ResolveHistory(opts.History)
	if err != nil {
		panic("memory: " + err.Error())
	}
	b := &Backend{
		clock:     time.Now,
		history:   history,
		names:     map[string]*name{},
		workers:   map[int64]*worker{},
		schedules: map[string]*backend.Schedule{},
		stored:    map[string]*backend.StoredSchedule{},
		gates:     map[int64]*gate{},
		signals:   map[backend.SignalKey]backend.Signal{},
		awaiting:  map[backend.SignalKey]map[*job]struct{}{},
		changed:   make(chan struct{}),
	}
	b.expiries.live, b.holds.live = entry.expires, entry.holds
	if opts.Clock != nil {
		b.clock, b.foreign = opts.Clock, true
	}
	return b
}

// Describe implements [backend.Describer]. Nothing here outlives the process.
func (b *Backend) Describe() backend.Description {
	return backend.Description{
		Store:      "memory",
		Durability: backend.None,
		Fields: backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending |
			backend.FieldMaxRunning | backend.FieldRate | backend.FieldHistory | backend.FieldMaxCrashes | backend.FieldDrop | backend.FieldGates | backend.FieldFair,
	}
}

// Close closes the store and wakes its waiters. Its jobs are lost.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.changed)
	}
	return nil
}

// enter locks b for the operation op. If err is nil, the caller unlocks b, with leave if jobs may
// have ended.
func (b *Backend) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %s: %w", op, err)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return fmt.Errorf("memory: %s: %w", op, backend.ErrClosed)
	}
	return nil
}

// leave lets waiters through whose conditions have come to hold, and unlocks b.
func (b *Backend) leave() {
	if len(b.gateWork) > 0 {
		b.letThrough(b.now())
	}
	b.mu.Unlock()
}

// now returns the clock's time. Internally, times are microseconds of Unix time and zero
// means none.
func (b *Backend) now() int64 { return b.clock().UnixMicro() }

// wake makes all waiters check again.
func (b *Backend) wake() {
	if b.waiters > 0 {
		close(b.changed)
		b.changed = make(chan struct{})
	}
}
