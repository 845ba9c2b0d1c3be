package memory

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

var errNoTx = fmt.Errorf("%w: jobs in memory cannot join a transaction", errors.ErrUnsupported)

// Steps implements [backend.StepStore].
func (b *Backend) Steps(ctx context.Context, id int64) ([]backend.Step, error) {
	if err := b.enter(ctx, "steps"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	if j := b.jobs.get(id); j != nil && j.more != nil {
		return cloneSteps(j.more.steps), nil
	}
	return nil, nil
}

func cloneSteps(steps []backend.Step) []backend.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Result = append([]byte{}, steps[i].Result...)
		steps[i].At = micros(steps[i].At)
	}
	return steps
}

// StoreStep implements [backend.StepStore].
func (b *Backend) StoreStep(ctx context.Context, tx *sql.Tx, lease backend.Lease, step backend.Step) error {
	err := check.Step(step)
	if err == nil && tx != nil {
		err = errNoTx
	}
	if err != nil {
		return fmt.Errorf("memory: store step: %w", err)
	}
	if err := b.enter(ctx, "store step"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	j := b.jobs.get(lease.ID)
	if judge(j, lease.Token, 0) != lifecycle.Held {
		return fmt.Errorf("memory: store step: %w", backend.ErrLeaseLost)
	}
	j.setStep(step, b.now())
	return nil
}

// LockStep implements [backend.StepStore].
func (b *Backend) LockStep(context.Context, *sql.Tx, backend.Lease, string) (backend.Step, bool, error) {
	return backend.Step{}, false, fmt.Errorf("memory: lock step: %w", errNoTx)
}

// step returns the index of j's step with a name, or -1.
func (j *job) step(name string) int {
	if j.more == nil {
		return -1
	}
	return slices.IndexFunc(j.more.steps, func(s backend.Step) bool { return s.Name == name })
}

// setStep stores a step, or the result of one that is stored.
func (j *job) setStep(s backend.Step, now int64) {
	i, m := j.step(s.Name), j.extra()
	if i < 0 {
		i = len(m.steps)
		m.steps = append(m.steps, backend.Step{Name: s.Name, At: lifecycle.Time(now)})
	}
	m.steps[i].Result = append([]byte{}, s.Result...)
}

// restart deletes the steps that j does again when an operator retries it.
func (j *job) restart(from string) {
	switch i := j.step(from); {
	case i >= 0:
		j.more.steps = slices.Delete(j.more.steps, i, len(j.more.steps))
	case j.State == backend.Done && j.more != nil:
		j.more.steps = nil
	}
}

// sleep stores the step of f, and notes what signal j waits for, which is to be next.
func (b *Backend) sleep(j *job, f *backend.Failure, next *lifecycle.Job, now int64) {
	if f.Step.Name != "" {
		j.setStep(f.Step, now)
	}
	if f.Signal == (backend.SignalKey{}) || next.State != backend.Scheduled {
		return
	}
	if _, sent := b.signals[f.Signal]; sent {
		next.State, next.RunAt = backend.Pending, now
		return
	}
	b.await(j, f.Signal, now)
}

// await notes that j waits for a signal, or wakes j if the signal was sent.
func (b *Backend) await(j *job, key backend.SignalKey, now int64) {
	if _, sent := b.signals[key]; sent {
		b.move(j, j.Retry(nil, now), now)
		return
	}
	j.extra().waits = key
	if b.awaiting[key] == nil {
		b.awaiting[key] = map[*job]struct{}{}
	}
	b.awaiting[key][j] = struct{}{}
}

// stopWaiting notes that j waits for no signal.
func (b *Backend) stopWaiting(j *job) {
	key := j.more.waits
	if key == (backend.SignalKey{}) {
		return
	}
	j.more.waits = backend.SignalKey{}
	if delete(b.awaiting[key], j); len(b.awaiting[key]) == 0 {
		delete(b.awaiting, key)
	}
}

// SendSignal implements [backend.StepStore].
func (b *Backend) SendSignal(ctx context.Context, tx *sql.Tx, s backend.Signal) error {
	err := check.Signal(s.SignalKey)
	if err == nil && tx != nil {
		err = errNoTx
	}
	if err != nil {
		return fmt.Errorf("memory: send signal: %w", err)
	}
	if err := b.enter(ctx, "send signal"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	if _, sent := b.signals[s.SignalKey]; sent {
		return fmt.Errorf("memory: send signal: %w: signal %s %q was sent already", backend.ErrDuplicate, s.Name, s.Key)
	}
	now := b.now()
	s.At, s.Payload = lifecycle.Time(now), append([]byte{}, s.Payload...)
	b.signals[s.SignalKey] = s
	b.release(s.SignalKey, now)
	return nil
}

// release wakes the jobs that wait for a signal, lowest ID first.
func (b *Backend) release(key backend.SignalKey, now int64) {
	jobs := slices.SortedFunc(maps.Keys(b.awaiting[key]), func(a, c *job) int { return cmp.Compare(a.id, c.id) })
	for _, j := range jobs {
		b.move(j, j.Retry(nil, now), now)
	}
}

// Signal implements [backend.StepStore].
func (b *Backend) Signal(ctx context.Context, key backend.SignalKey) (backend.Signal, error) {
	if err := b.enter(ctx, "signal"); err != nil {
		return backend.Signal{}, err
	}
	defer b.mu.Unlock()
	s, sent := b.signals[key]
	if !sent {
		return s, fmt.Errorf("memory: signal: %w", backend.ErrNotFound)
	}
	s.Payload = bytes.Clone(s.Payload)
	return s, nil
}

// pruneSignals deletes the signals that were sent long ago.
func (b *Backend) pruneSignals(now int64) {
	maps.DeleteFunc(b.signals, func(_ backend.SignalKey, s backend.Signal) bool {
		return now-s.At.UnixMicro() >= backend.KeepSignals.Microseconds()
	})
}

// compareSignals is the order in which signals are exported.
func compareSignals(a, c backend.SignalKey) int {
	return cmp.Or(cmp.Compare(a.Name, c.Name), cmp.Compare(a.Key, c.Key))
}

// exportSignals returns the signals of a page.
func (b *Backend) exportSignals(req *backend.ExportRequest) []backend.Signal {
	if req.Signals == 0 {
		return nil
	}
	var page []backend.Signal
	for _, key := range slices.SortedFunc(maps.Keys(b.signals), compareSignals) {
		if compareSignals(key, req.AfterSignal) > 0 && len(page) < req.Signals {
			s := b.signals[key]
			s.Payload = bytes.Clone(s.Payload)
			page = append(page, s)
		}
	}
	return page
}

// importSignals stores the signals that are not stored yet.
func (b *Backend) importSignals(signals []backend.Signal, now int64) {
	for _, s := range signals {
		if _, sent := b.signals[s.SignalKey]; !sent {
			s.At, s.Payload = micros(s.At), append([]byte{}, s.Payload...)
			b.signals[s.SignalKey] = s
			b.release(s.SignalKey, now)
		}
	}
}
