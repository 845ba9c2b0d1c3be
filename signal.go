package plainjobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A Signal is a named value of type T that a program sends to jobs, once for each key. A handler waits
// for it with [Signal.Wait], for example for the approval of an order.
type Signal[T any] struct{ name string }

// DefineSignal returns the signal with a name, which has 1 to 128 bytes. It panics if the name is
// invalid. All programs that send or await the signal must use the same type.
func DefineSignal[T any](name string) *Signal[T] {
	if err := check.Name(name); err != nil {
		panic(fmt.Sprintf("plainjobs: %s: signal: %v", caller(), err))
	}
	return &Signal[T]{name}
}

// Send sends a value to the jobs that wait for the key, and to those that will. A signal
// is sent once: if it was sent before, the error matches [ErrDuplicate], and the first
// value stays. It is kept for 30 days. The key has at most 255 bytes. If no job waits for
// the key, the value is only stored.
func (s *Signal[T]) Send(ctx context.Context, q *Queue, key string, value T) error {
	return s.send(ctx, q, nil, key, value)
}

// SendTx is [Signal.Send] in a transaction, see [Queue.WithTx]: the signal is sent if and when the
// transaction commits.
func (s *Signal[T]) SendTx(ctx context.Context, q *TxQueue, key string, value T) error {
	return s.send(ctx, q.queue, q.tx, key, value)
}

func (s *Signal[T]) send(ctx context.Context, q *Queue, tx *sql.Tx, key string, value T) error {
	store, err := capability[backend.StepStore](q, "send a signal")
	if err != nil {
		return err
	}
	payload, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("plainjobs: the value of signal %s does not encode: %w", s.name, err)
	}
	if most := q.engine().MaxPayload; most > 0 && len(payload) > most {
		return fmt.Errorf("plainjobs: signal %s: %w: %d bytes, at most %d", s.name, ErrPayloadTooLarge, len(payload), most)
	}
	if payload, err = q.engine().Encrypt(engine.KindSignal, s.name, payload); err != nil {
		return fmt.Errorf("plainjobs: the value of signal %s: %w", s.name, err)
	}
	if err := store.SendSignal(ctx, tx, backend.Signal{SignalKey: backend.SignalKey{Name: s.name, Key: key}, Payload: payload}); err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	return nil
}

// A signalState is the stored result of a Wait.
type signalState struct {
	Until int64           `json:"until,omitempty"` // of a job that waits: microseconds of Unix time
	Value json.RawMessage `json:"value,omitempty"`
	Late  bool            `json:"late,omitempty"` // the time was over
}

// Wait returns the value that is sent with the key. If none was sent, it ends the run as
// [Sleep] does: the handler must return the error. The job continues when the signal is
// sent, or after the timeout, at most ten years. After the timeout, Wait returns an error
// that matches [ErrSignalTimeout]. The outcome, the value or the timeout, is stored as a
// step: later runs get the same. The timeout must be positive, so that no job waits
// forever. A handler may wait for a key once in a run.
func (s *Signal[T]) Wait(ctx context.Context, key string, timeout time.Duration) (T, error) {
	var none T
	run, err := runOf(ctx, "Wait")
	if err != nil {
		return none, err
	}
	id := backend.SignalKey{Name: s.name, Key: key}
	if err := check.Signal(id); err != nil {
		return none, fmt.Errorf("plainjobs: %w", err)
	}
	if timeout <= 0 {
		return none, fmt.Errorf("plainjobs: signal %s: the timeout %v of Wait is not positive", s.name, timeout)
	}
	state, step, err := s.state(ctx, run, id)
	if err != nil {
		return none, err
	}
	if state.Value == nil && !state.Late {
		sent, err := run.Queue.Backend.(backend.StepStore).Signal(ctx, id)
		now := time.Now()
		switch {
		case err == nil:
			value, err := run.Queue.Decrypt(engine.KindSignal, s.name, sent.Payload)
			if err != nil {
				return none, fmt.Errorf("plainjobs: the value of signal %s %q: %w", s.name, key, err)
			}
			state = signalState{Value: value}
		case !errors.Is(err, backend.ErrNotFound):
			return none, fmt.Errorf("plainjobs: %w", err)
		case state.Until == 0:
			state.Until = now.Add(min(timeout, 10*365*24*time.Hour)).UnixMicro()
			return none, wait(run, step, state, id, now)
		case !run.Queue.Test && time.UnixMicro(state.Until).Sub(now) > signalSlack: // an operator has woken the job
			return none, wait(run, step, state, id, now)
		default:
			state = signalState{Late: true}
		}
		if err := storeStep(ctx, run, nil, step, state); err != nil {
			return none, err
		}
	}
	if state.Late {
		return none, fmt.Errorf("plainjobs: signal %s %q: %w", s.name, key, ErrSignalTimeout)
	}
	var value T
	if err := json.Unmarshal(state.Value, &value); err != nil {
		return none, fmt.Errorf("plainjobs: the value of signal %s %q does not decode as %T", s.name, key, none)
	}
	return value, nil
}

// wait ends a run whose job waits for a signal.
func wait(run *engine.Info, step string, state signalState, id backend.SignalKey, now time.Time) error {
	encoded, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("plainjobs: signal %s: %w", id.Name, err)
	}
	return run.Sleep(&engine.SleepError{Name: step, Delay: time.UnixMicro(state.Until).Sub(now), Result: encoded, Signal: id})
}

// signalSlack is how much earlier than its time, by this process's clock, a job that waits for a
// signal may run again and find that the time is over: the store's clock may differ.
const signalSlack = time.Second

// state returns what is stored of a Wait, and the name of its step.
func (s *Signal[T]) state(ctx context.Context, run *engine.Info, id backend.SignalKey) (state signalState, step string, err error) {
	step = "signal " + id.Name + " " + id.Key
	if len(step) > 255 {
		return state, step, fmt.Errorf("plainjobs: signal %s: %w: the name and the key have more than 247 bytes together", s.name, backend.ErrInvalid)
	}
	stored, found, err := run.Begin(ctx, step, false)
	if err == nil && found {
		err = json.Unmarshal(stored, &state)
	}
	return state, step, stepError(err)
}
