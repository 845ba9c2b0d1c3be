package conformance

import (
	"context"
	"database/sql"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var sleepMutants = []mutant{{
	rule:     "no fencing in StoreStep",
	rejected: []string{"step/stale"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &unfencedStep{latest: latest{Backend: m}} },
}, {
	rule:     "steps are in the order of their names",
	rejected: []string{"step/stored", "step/export"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return sortedSteps{m} },
}, {
	rule:     "steps outlive their job and its end",
	rejected: []string{"step/kept", "step/from"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &eternalSteps{Backend: m, all: map[int64][]backend.Step{}}
	},
}, {
	rule:     "a retry from a step begins where it failed",
	rejected: []string{"step/from"},
	make:     alters(altered{operate: func(r *backend.OperateRequest) { r.FromStep = "" }}),
}, {
	rule:     "the step of a sleep is forgotten",
	rejected: []string{"step/sleep"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Step = backend.Step{} }}),
}, {
	rule:     "a job that sleeps takes its unique key again",
	rejected: []string{"step/sleep-key"},
	make: alters(altered{fail: func(f *backend.Failure) {
		if f.Ending == backend.EndSleep && f.Step.Name == "" && f.Signal == (backend.SignalKey{}) {
			f.Ending = backend.EndSnooze
		}
	}}),
}, {
	rule:     "no job waits for a signal",
	rejected: []string{"signal/wakes", "signal/first", "signal/race", "step/export"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Signal = backend.SignalKey{} }}),
}, {
	rule:     "a signal may be sent twice",
	rejected: []string{"signal/wakes"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return sendsTwice{m} },
}, {
	rule:     "a run looks for its signal before it ends",
	rejected: []string{"signal/race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &asksFirst{Backend: m} },
}, {
	rule:     "a signal wakes each job that ever waited for it",
	rejected: []string{"signal/over"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &wakesAll{Backend: m} },
}, {
	rule:     "a signal is kept for ever",
	rejected: []string{"signal/kept"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &eternalSignals{Backend: m} },
}, {
	rule:     "an export leaves out steps",
	rejected: []string{"step/export"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return exportsNoSteps{m} },
}, {
	rule:     "an import wakes the jobs that sleep",
	rejected: []string{"step/export"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return importsAwake{m} },
}}

type unfencedStep struct{ latest }

func (b *unfencedStep) StoreStep(ctx context.Context, tx *sql.Tx, l backend.Lease, s backend.Step) error {
	return b.Backend.StoreStep(ctx, tx, b.of(l), s)
}

type sortedSteps struct{ *memory.Backend }

func (b sortedSteps) Steps(ctx context.Context, id int64) ([]backend.Step, error) {
	steps, err := b.Backend.Steps(ctx, id)
	slices.SortFunc(steps, func(a, c backend.Step) int { return strings.Compare(a.Name, c.Name) })
	return steps, err
}

type eternalSteps struct {
	*memory.Backend
	mu  sync.Mutex
	all map[int64][]backend.Step
}

func (b *eternalSteps) Steps(ctx context.Context, id int64) ([]backend.Step, error) {
	steps, err := b.Backend.Steps(ctx, id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(steps) >= len(b.all[id]) {
		b.all[id] = steps
	}
	return b.all[id], err
}

func (b *eternalSteps) StoreStep(ctx context.Context, tx *sql.Tx, l backend.Lease, s backend.Step) error {
	err := b.Backend.StoreStep(ctx, tx, l, s)
	_, _ = b.Steps(ctx, l.ID)
	return err
}

type sendsTwice struct{ *memory.Backend }

func (b sendsTwice) SendSignal(ctx context.Context, tx *sql.Tx, s backend.Signal) error {
	if _, err := b.Signal(ctx, s.SignalKey); err == nil {
		return nil
	}
	return b.Backend.SendSignal(ctx, tx, s)
}

// asksFirst looks for the signal, ends the run, and then notes that the job waits.
type asksFirst struct {
	*memory.Backend
	mu     sync.Mutex
	waiter map[backend.SignalKey]int64
}

func (b *asksFirst) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	f := failures[0]
	key := f.Signal
	if _, err := b.Signal(ctx, key); err == nil {
		f.Delay = 0
	}
	yield(2000) // until another goroutine has sent the signal
	f.Signal = backend.SignalKey{}
	lost, err := b.Backend.Fail(ctx, []backend.Failure{f})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiter == nil {
		b.waiter = map[backend.SignalKey]int64{}
	}
	b.waiter[key] = f.ID
	return lost, err
}

// yield lets other goroutines run.
func yield(times int) {
	for range times {
		runtime.Gosched()
	}
}

func (b *asksFirst) SendSignal(ctx context.Context, tx *sql.Tx, s backend.Signal) error {
	yield(1000) // until another goroutine has looked for it
	if err := b.Backend.SendSignal(ctx, tx, s); err != nil {
		return err
	}
	b.mu.Lock()
	id := b.waiter[s.SignalKey]
	b.mu.Unlock()
	_, err := b.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{id}}})
	return err
}

// wakesAll wakes all scheduled jobs that have waited for a signal.
type wakesAll struct {
	*memory.Backend
	mu     sync.Mutex
	waited map[backend.SignalKey][]int64
}

func (b *wakesAll) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	b.mu.Lock()
	for _, f := range failures {
		if b.waited == nil {
			b.waited = map[backend.SignalKey][]int64{}
		}
		b.waited[f.Signal] = append(b.waited[f.Signal], f.ID)
	}
	b.mu.Unlock()
	return b.Backend.Fail(ctx, failures)
}

func (b *wakesAll) SendSignal(ctx context.Context, tx *sql.Tx, s backend.Signal) error {
	b.mu.Lock()
	ids := b.waited[s.SignalKey]
	b.mu.Unlock()
	if err := b.Backend.SendSignal(ctx, tx, s); err != nil {
		return err
	}
	_, err := b.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: ids, States: []backend.State{backend.Scheduled}}})
	return err
}

type eternalSignals struct {
	*memory.Backend
	mu   sync.Mutex
	sent map[backend.SignalKey]backend.Signal
}

func (b *eternalSignals) SendSignal(ctx context.Context, tx *sql.Tx, s backend.Signal) error {
	err := b.Backend.SendSignal(ctx, tx, s)
	kept, _ := b.Backend.Signal(ctx, s.SignalKey)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent == nil {
		b.sent = map[backend.SignalKey]backend.Signal{}
	}
	b.sent[s.SignalKey] = kept
	return err
}

func (b *eternalSignals) Signal(ctx context.Context, key backend.SignalKey) (backend.Signal, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, sent := b.sent[key]; sent {
		return s, nil
	}
	return b.Backend.Signal(ctx, key)
}

type exportsNoSteps struct{ *memory.Backend }

func (b exportsNoSteps) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	batch, err := b.Backend.Export(ctx, req)
	for i := range batch.Jobs {
		batch.Jobs[i].Steps = nil
	}
	return batch, err
}

type importsAwake struct{ *memory.Backend }

func (b importsAwake) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	batch.Jobs = slices.Clone(batch.Jobs)
	for i := range batch.Jobs {
		batch.Jobs[i].Sleeps, batch.Jobs[i].Waits = false, backend.SignalKey{}
	}
	return b.Backend.Import(ctx, batch)
}
