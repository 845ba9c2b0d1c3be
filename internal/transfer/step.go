package transfer

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// A stepLine is a step of a job.
type stepLine struct {
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	Result blob      `json:"result"`
}

// A signalLine is a signal that was sent. Without At it is the one that a job waits for.
type signalLine struct {
	Name    string     `json:"name"`
	Key     string     `json:"key"`
	At      *time.Time `json:"at,omitempty"`
	Payload blob       `json:"payload,omitempty"`
}

// addSteps adds the steps of a job to its line, and what it waits for.
func (l *jobLine) addSteps(r *backend.Record) {
	l.Sleeps = r.Sleeps
	if r.Waits != (backend.SignalKey{}) {
		l.Waits = &signalLine{Name: r.Waits.Name, Key: r.Waits.Key}
	}
	for _, s := range r.Steps {
		l.Steps = append(l.Steps, stepLine{s.Name, s.At, s.Result})
	}
}

// fillSteps is the reverse of addSteps.
func (l *jobLine) fillSteps(r *backend.Record) {
	r.Sleeps = l.Sleeps
	if l.Waits != nil {
		r.Waits = backend.SignalKey{Name: l.Waits.Name, Key: l.Waits.Key}
	}
	for _, s := range l.Steps {
		r.Steps = append(r.Steps, backend.Step{Name: s.Name, At: s.At.UTC(), Result: s.Result})
	}
}

func (l *signalLine) signal() backend.Signal {
	return backend.Signal{SignalKey: backend.SignalKey{Name: l.Name, Key: l.Key}, At: given(l.At), Payload: l.Payload}
}

// eachSignal calls f with the signals of a store, a page at a time.
func eachSignal(ctx context.Context, e backend.ExportImporter, f func([]backend.Signal) error) error {
	req := backend.ExportRequest{Signals: check.MaxBatch}
	for {
		page, err := e.Export(ctx, req)
		if err != nil || len(page.Signals) == 0 {
			return err
		}
		if err := f(page.Signals); err != nil {
			return err
		}
		req.AfterSignal = page.Signals[len(page.Signals)-1].SignalKey
	}
}

func (e *exporter) signals(ctx context.Context) error {
	return eachSignal(ctx, e.store, func(page []backend.Signal) error {
		for _, s := range page {
			if err := e.write(line{Signal: &signalLine{s.Name, s.Key, optional(s.At), s.Payload}}); err != nil {
				return err
			}
			e.done.Signals++
		}
		return nil
	})
}

// copySignals copies the signals, after the jobs that wait for them.
func (m *mover) copySignals(ctx context.Context) error {
	return eachSignal(ctx, m.source, func(page []backend.Signal) error {
		_, err := m.target.Import(ctx, backend.Batch{Signals: page})
		m.done.Signals += int64(len(page))
		return err
	})
}
