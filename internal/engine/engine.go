// Package engine is shared by the root package, the workers and the test helpers: the
// definitions of jobs and schedules, the handlers of a queue, and the path of one run.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/encrypt"
)

// A Run executes a job's handler with an encoded payload.
type Run func(ctx context.Context, payload []byte) error

// A Middleware wraps the runs of a job.
type Middleware func(*Definition, Run) Run

// A Definition is a job's name and options.
type Definition struct {
	Name        string
	Aliases     []string
	Where       string       // file:line of the definition
	Type        reflect.Type // of its data
	MaxAttempts int
	// InitialAttempts is MaxAttempts without an option.
	InitialAttempts int
	Priority        int16
	MaxPending      int
	Timeout         time.Duration
	Concurrency     int              // per worker, 0 without bound
	Settings        backend.Settings // without its name
	Backoff         func(attempt int, err error) time.Duration
	Unique          func(data any, payload []byte) backend.Unique // nil if there is no key
	Serial          func(data any) string
	Fair            func(data any) string
	Middleware      []Middleware // the first is the outermost
	OnError         []ErrorFunc
	Results         bool // its handlers leave results
	Batch           bool // its handler runs several jobs at once: at most MaxBatch, for which it waits for Linger
	MaxBatch        int
	Linger          time.Duration
	HidePayload     bool           // in the dashboard
	Weights         map[string]int // of fair keys, of an override
	Overrides       bool           // it only collects options of an override, which may lift limits
	Run             Run            // nil if the job was only declared

	changes []Change    // its options, see Apply
	root    *Definition // nil unless a queue has made this one from it
}

// Takes returns an error if t is not the type of the definition's data.
func (d *Definition) Takes(t reflect.Type, option string) error {
	if t != d.Type {
		return fmt.Errorf("%s takes a %v, and the job's data are of type %v", option, t, d.Type)
	}
	return nil
}

// NewJob returns the job that a task with data stores. payload is the data, encoded.
func (d *Definition) NewJob(data any, payload []byte) (backend.NewJob, error) {
	job := backend.NewJob{Name: d.Name, Payload: payload, MaxAttempts: d.MaxAttempts, Priority: d.Priority, MaxPending: d.MaxPending}
	if d.Unique != nil {
		job.Unique = d.Unique(data, payload)
		if err := check.Key(job.Unique.Key); err != nil {
			return job, fmt.Errorf("the key of UniqueBy: %w; UniqueByData hashes data of any size", err)
		}
	}
	if d.Serial != nil {
		job.Serial = d.Serial(data)
		if err := check.Key(job.Serial); err != nil {
			return job, fmt.Errorf("the key of SerialBy: %w", err)
		}
	}
	if d.Fair != nil {
		var err error
		if job.Fair, err = d.fairKey(data); err != nil {
			return job, fmt.Errorf("the key of FairBy: %w", err)
		}
	}
	return job, nil
}

// fairKey calls Fair, which is the user's code.
func (d *Definition) fairKey(data any) (key string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: its function panicked: %v", backend.ErrInvalid, v)
		}
	}()
	key = d.Fair(data)
	return key, check.Key(key)
}

// CheckFields returns an error that matches errors.ErrUnsupported if the
// definition needs a field that the described store does not keep.
func (d *Definition) CheckFields(store backend.Description) error {
	job := backend.NewJob{Name: d.Name, MaxPending: d.MaxPending}
	if d.Unique != nil {
		job.Unique.Key = "any"
	}
	if d.Serial != nil {
		job.Serial = "any"
	}
	if d.Fair != nil {
		job.Fair = "any"
	}
	if err := check.Fields(store, &job); err != nil {
		return err
	}
	settings := d.Settings
	settings.Name = d.Name
	return check.Set(store, []backend.Settings{settings})
}

// A Queue is a backend with the handlers that are bound to it.
type Queue struct {
	Backend backend.Backend
	// Description is the store's; nil keeps all fields.
	Description *backend.Description
	MaxPayload  int
	Logger      *slog.Logger // nil is slog.Default()
	Middleware  []Middleware // around those of the jobs
	OnError     ErrorFunc    // nil if there is none; called after those of the job
	// Metadata returns what a push stores with its jobs; nil stores none.
	Metadata func(context.Context) map[string]string
	// TimeoutError is the cause of the end of a context whose run takes too long.
	TimeoutError error
	// Codec encrypts what is stored; nil stores it in clear. EncryptErrors encrypts errors too.
	Codec         encrypt.Codec
	EncryptErrors bool
	// StoreLogs is the lowest level of what handlers log that workers store; nil stores nothing.
	StoreLogs slog.Leveler
	// Test is set on a queue of package plainjobstest.
	Test bool
	// RunTwice runs each handler of a test a second time, as after a crash that lost the
	// end of its run.
	RunTwice bool
	// Clock replaces time.Now for At and Before, in tests.
	Clock func() time.Time

	// Closed is set when the queue is closed, even if its store cannot be.
	Closed atomic.Bool

	Events Events
	// SuspectLock lets one of the workers of this queue run a suspect: if the process
	// dies, the cause is clear.
	SuspectLock SuspectLock

	config configuration
	handle *Handle // nil for a queue that was not made by NewHandle

	mu       sync.Mutex          // guards bound and live
	bound    map[*Definition]Run // by Handle
	handlers sync.Map            // of Run by *Definition, with middleware
	live     map[Canceller]struct{}
}

// A Handle is a queue as applications hold it. The type plainjobs.Queue is
// defined from Handle, so the packages of this module convert one to the other,
// and plainjobs.Queue needs no exported method that returns its Queue.
type Handle struct{ queue Queue }

// NewHandle returns a handle to an empty queue.
func NewHandle() *Handle {
	h := &Handle{}
	h.queue.handle = h
	return h
}

// Queue returns the queue of the handle.
func (h *Handle) Queue() *Queue { return &h.queue }

// Handle binds a handler, which overrides the definition's.
func (q *Queue) Handle(d *Definition, run Run) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bound == nil {
		q.bound = map[*Definition]Run{}
	}
	q.bound[d] = run
	q.handlers.Delete(d)
	q.handlers.Delete(q.Definition(d))
}

// Handler returns the handler for a definition with its middleware, or nil.
func (q *Queue) Handler(d *Definition) Run {
	if run, ok := q.handlers.Load(d); ok {
		return run.(Run)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	run := q.bound[d.Root()]
	if run == nil {
		run = d.Run
	}
	if run == nil {
		return nil
	}
	run = wrap(d, run, d.Middleware)
	run = wrap(d, run, q.Middleware)
	if q.RunTwice {
		run = twice(run)
	}
	if q.Codec != nil {
		run = q.decrypting(run)
	}
	q.handlers.Store(d, run)
	return run
}

func wrap(d *Definition, run Run, middleware []Middleware) Run {
	for i := len(middleware) - 1; i >= 0; i-- {
		run = middleware[i](d, run)
	}
	return run
}

// twice runs a job that has succeeded again, as after a crash before its end was stored.
// A job that completed in its own transaction is stored and does not run again.
func twice(run Run) Run {
	return func(ctx context.Context, payload []byte) error {
		if err := run(ctx, payload); err != nil {
			return err
		}
		if i := InfoOf(ctx); i != nil && (i.InTx.Load() || i.Completed.Load()) {
			return nil
		}
		return run(ctx, payload)
	}
}

// Now returns the time for At and Before.
func (q *Queue) Now() time.Time {
	if q.Clock != nil {
		return q.Clock()
	}
	return time.Now()
}

// Log returns the queue's logger.
func (q *Queue) Log() *slog.Logger {
	if q.Logger != nil {
		return q.Logger
	}
	return slog.Default()
}

// A Canceller is a worker of this process. It ends a run at once; a worker of another
// process does so at its next heartbeat.
type Canceller interface {
	// CancelRuns ends the contexts of the runs of the jobs with these IDs. It returns
	// the IDs of the jobs that it has.
	CancelRuns(ids []int64) (had []int64)
}

// Join makes CancelRuns call c until leave is called.
func (q *Queue) Join(c Canceller) (leave func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.live == nil {
		q.live = map[Canceller]struct{}{}
	}
	q.live[c] = struct{}{}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.live, c)
	}
}

// CancelRuns makes the workers of this process cancel their runs of the jobs. It returns
// the IDs of the jobs that they have.
func (q *Queue) CancelRuns(ids []int64) (had []int64) {
	q.mu.Lock()
	var live []Canceller
	for c := range q.live {
		live = append(live, c)
	}
	q.mu.Unlock()
	for _, c := range live {
		had = append(had, c.CancelRuns(ids)...)
	}
	return had
}

// SelectsAll reports whether f selects every job.
func SelectsAll(f backend.Filter) bool {
	return f.IDs == nil && len(f.Names) == 0 && len(f.States) == 0 && len(f.Metadata) == 0 && f.Key == "" && !f.HasKey && f.Error == "" && f.Since.IsZero() && f.Until.IsZero() &&
		f.Gate == 0 && f.Behind == 0
}
