package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// A SleepError ends a run whose job sleeps or waits for a signal. It is no failure.
type SleepError struct {
	Name   string // of the step
	Delay  time.Duration
	Result []byte            // of the step
	Signal backend.SignalKey // zero if the job only sleeps
}

// Error says that the handler must return the error.
func (e *SleepError) Error() string {
	if e.Signal.Name != "" {
		return fmt.Sprintf("waits for signal %s %q for at most %v: return this error from the handler", e.Signal.Name, e.Signal.Key, e.Delay)
	}
	return fmt.Sprintf("%s: sleeps for %v: return this error from the handler", e.Name, e.Delay)
}

// MaxSteps is how many steps a job may have.
const MaxSteps = 1000

// Steps are the steps of a run's job. The zero value is that of a run that has not begun one.
type Steps struct {
	mu     sync.Mutex
	loaded bool
	stored map[string][]byte // results by name
	used   map[string]bool   // in this run
	asleep *SleepError
}

// A stepStore is what Steps need of a queue's store.
func stepStore(q *Queue) (backend.StepStore, error) {
	store, ok := q.Backend.(backend.StepStore)
	if !ok {
		return nil, fmt.Errorf("%w: %T stores no steps", errors.ErrUnsupported, q.Backend)
	}
	return store, nil
}

// Begin begins a step of a run. It returns the result of a step that is stored already. It
// returns an error if the name is invalid, the job has too many steps, or the name was used before in
// the run, except by a step in a transaction, which may have been rolled back. Once the job is to
// sleep, it returns the error that the handler must return.
func (i *Info) Begin(ctx context.Context, name string, inTx bool) (result []byte, stored bool, err error) {
	if err := check.Step(backend.Step{Name: name}); err != nil {
		return nil, false, err
	}
	store, err := stepStore(i.Queue)
	if err != nil {
		return nil, false, err
	}
	s := i.steps()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asleep != nil {
		return nil, false, s.asleep
	}
	if s.used[name] {
		return nil, false, fmt.Errorf("%w: step %q is used twice in one run; in a loop, add the key of the item to the name", backend.ErrInvalid, name)
	}
	if !s.loaded {
		s.stored, s.used = map[string][]byte{}, map[string]bool{}
		if i.Job.HasSteps {
			steps, err := store.Steps(ctx, i.Job.ID)
			if err != nil {
				return nil, false, err
			}
			for _, step := range steps {
				s.stored[step.Name] = step.Result
			}
		}
		s.loaded = true
	}
	result, stored = s.stored[name]
	if result, err = i.Queue.Decrypt(KindStep, i.Job.Name, result); err != nil {
		return nil, false, fmt.Errorf("the stored result of step %q: %w", name, err)
	}
	if !stored && len(s.stored) >= MaxSteps {
		return nil, false, fmt.Errorf("%w: the job has %d steps, the most that it may have; use a job for each item, in a group", backend.ErrInvalid, MaxSteps)
	}
	s.used[name] = !inTx
	return result, stored, nil
}

// steps returns the steps of the run.
func (i *Info) steps() *Steps {
	if s := i.stepsOfRun.Load(); s != nil {
		return s
	}
	i.stepsOfRun.CompareAndSwap(nil, &Steps{})
	return i.stepsOfRun.Load()
}

// storeFor is how long the result of a step that is done is offered to a store that fails.
const storeFor = 30 * time.Second

// StoreStep stores the result of a step that is done. It does not end with ctx, which a worker
// ends when it stops: if the result were lost, the step would be done again.
func (i *Info) StoreStep(ctx context.Context, tx *sql.Tx, name string, result []byte) error {
	store, err := stepStore(i.Queue)
	if err != nil {
		return err
	}
	if result, err = i.Queue.Encrypt(KindStep, i.Job.Name, result); err != nil {
		return fmt.Errorf("step %q is done, but its result is not stored: %w", name, err)
	}
	step := backend.Step{Name: name, Result: result}
	until := time.Now().Add(storeFor)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err = store.StoreStep(context.WithoutCancel(ctx), tx, i.Job.Lease, step)
		if err == nil || tx != nil || errors.Is(err, backend.ErrLeaseLost) || errors.Is(err, backend.ErrInvalid) ||
			errors.Is(err, backend.ErrClosed) || time.Now().After(until) {
			break
		}
		time.Sleep(pause) // the store fails, and says nothing when it works again
	}
	if err != nil {
		return fmt.Errorf("step %q is done, but its result is not stored: %w", name, err)
	}
	if tx == nil { // a transaction may be rolled back
		s := i.steps()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stored[name] = result
	}
	return nil
}

// Sleep notes that the job is to sleep, and returns the error that the handler must return.
func (i *Info) Sleep(e *SleepError) error {
	s := i.steps()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asleep == nil {
		encrypted, err := i.Queue.Encrypt(KindStep, i.Job.Name, e.Result)
		if err != nil {
			return fmt.Errorf("step %q: %w", e.Name, err)
		}
		e.Result, s.asleep = encrypted, e
	}
	return s.asleep
}

// awake returns err, the error of a run, or an error if the run returned none although its job is to
// sleep.
func (i *Info) awake(err error) error {
	s := i.stepsOfRun.Load()
	if err != nil || s == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asleep == nil {
		return nil
	}
	return fmt.Errorf("the handler returned nil although its job is to sleep: %s", s.asleep.Error())
}
