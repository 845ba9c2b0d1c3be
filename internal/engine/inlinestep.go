package engine

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Steps implements [backend.StepStore].
func (s *Inline) Steps(_ context.Context, id int64) ([]backend.Step, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(id); j != nil {
		return slices.Clone(j.steps), nil
	}
	return nil, nil
}

// StoreStep implements [backend.StepStore]. A transaction is not looked at: its commit is not
// visible. A job that is not recorded keeps its steps only during its run.
func (s *Inline) StoreStep(_ context.Context, _ *sql.Tx, lease backend.Lease, step backend.Step) error {
	if err := check.Step(step); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(lease.ID); j != nil && j.Judge(lease.Token, 0) == lifecycle.Held {
		j.setStep(step)
	}
	return nil
}

func (j *inlineJob) setStep(step backend.Step) {
	i := slices.IndexFunc(j.steps, func(s backend.Step) bool { return s.Name == step.Name })
	if i < 0 {
		step.At = time.Now()
		j.steps = append(j.steps, step)
		return
	}
	j.steps[i].Result = step.Result
}

// LockStep implements [backend.StepStore].
func (s *Inline) LockStep(_ context.Context, _ *sql.Tx, lease backend.Lease, name string) (backend.Step, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(lease.ID); j != nil {
		for _, step := range j.steps {
			if step.Name == name {
				return step, true, nil
			}
		}
	}
	return backend.Step{Name: name}, false, nil
}

// SendSignal implements [backend.StepStore].
func (s *Inline) SendSignal(_ context.Context, _ *sql.Tx, signal backend.Signal) error {
	if err := check.Signal(signal.SignalKey); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, sent := s.signals[signal.SignalKey]; sent {
		return fmt.Errorf("%w: signal %s %q was sent already", backend.ErrDuplicate, signal.Name, signal.Key)
	}
	if s.signals == nil {
		s.signals = map[backend.SignalKey]backend.Signal{}
	}
	signal.At = time.Now()
	s.signals[signal.SignalKey] = signal
	now := micros()
	for _, j := range s.jobs {
		if j.State == backend.Scheduled && j.info.Waits == signal.SignalKey {
			j.info.Waits = backend.SignalKey{}
			j.Job = j.Retry(nil, now)
		}
	}
	return nil
}

// Signal implements [backend.StepStore].
func (s *Inline) Signal(_ context.Context, key backend.SignalKey) (backend.Signal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	signal, sent := s.signals[key]
	if !sent {
		return signal, backend.ErrNotFound
	}
	return signal, nil
}

// sleep stores the step of f, and what j waits for, which is to be next. The caller holds mu.
func (s *Inline) sleep(j *inlineJob, f *backend.Failure, next *lifecycle.Job, now int64) {
	j.info.Waits = backend.SignalKey{}
	if f.Step.Name != "" {
		j.setStep(f.Step)
	}
	if f.Signal == (backend.SignalKey{}) || next.State != backend.Scheduled {
		return
	}
	if _, sent := s.signals[f.Signal]; sent {
		next.State, next.RunAt = backend.Pending, now
		return
	}
	j.info.Waits = f.Signal
}
