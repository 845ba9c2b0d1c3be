package plainjobs

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Step runs a part of a handler's work once. It stores the result of fn as JSON, on disk
// by default, with the job. When the job runs again, after an error, a crash or a
// [Sleep], Step returns the stored result and does not call fn. fn is called again only
// if it returned an error; if its result was not stored (the process died, the run lost
// its lease, or Step returned an error); or if an operator retries a done job, or the job
// from this step or an earlier one ([Queue.RetryFrom]). So fn should be idempotent;
// [StepTx] does its work and stores the result in one transaction.
//
//	charge, err := plainjobs.Step(ctx, "charge", func(ctx context.Context) (Charge, error) {
//		return stripe.Charge(ctx, order.Card)
//	})
//	if err != nil {
//		return err
//	}
//
// Steps are found by name, not by order: a new version of the program may add, remove and
// reorder them while jobs are under way. A name has 1 to 255 bytes. In a loop, add the key of
// the item to it: a name that is used twice in a run is an error. A job has at most 1000 steps,
// and a result at most [Options].MaxPayload bytes.
//
// If a stored result does not decode as T, Step returns an error that says so; see
// [Queue.RetryFrom]. A store that keeps no steps returns an error that matches
// errors.ErrUnsupported; see [backend.StepStore].
func Step[T any](ctx context.Context, name string, fn func(ctx context.Context) (T, error)) (T, error) {
	var none T
	run, err := runOf(ctx, "Step")
	if err != nil {
		return none, err
	}
	stored, found, err := run.Begin(ctx, name, false)
	switch {
	case err != nil:
		return none, stepError(err)
	case found:
		return decodeStep[T](run, name, stored)
	}
	result, err := fn(ctx)
	if err != nil {
		return none, err
	}
	return result, storeStep(ctx, run, nil, name, result)
}

// StepTx is [Step] in a transaction on the queue's database. It locks the run's lease
// until the transaction ends, so that no other run of the job starts meanwhile. The
// effects of fn in the transaction and the result of the step are committed together or
// not at all: the effects happen once. Unlike Step, StepTx may be called again with the
// same name in the same run, in another transaction, for example after a rollback. If the
// first transaction was committed, it returns the stored result. On SQLite the
// transaction should begin with BEGIN IMMEDIATE. If the run has lost its lease, the error
// matches [ErrLeaseLost]; then roll back.
func StepTx[T any](ctx context.Context, tx *sql.Tx, name string, fn func() (T, error)) (T, error) {
	var none T
	run, err := runOf(ctx, "StepTx")
	if err != nil {
		return none, err
	}
	if tx == nil && !run.Queue.Test {
		return none, errors.New("plainjobs: StepTx with a nil transaction")
	}
	if _, _, err := run.Begin(ctx, name, true); err != nil {
		return none, stepError(err)
	}
	step, found, err := run.Queue.Backend.(backend.StepStore).LockStep(ctx, tx, run.Job.Lease, name)
	switch {
	case err != nil:
		return none, stepError(err)
	case found:
		data, err := run.Queue.Decrypt(engine.KindStep, run.Job.Name, step.Result)
		if err != nil {
			return none, fmt.Errorf("plainjobs: the stored result of step %q: %w", name, err)
		}
		return decodeStep[T](run, name, data)
	}
	result, err := fn()
	if err != nil {
		return none, err
	}
	return result, storeStep(ctx, run, tx, name, result)
}

// Sleep ends the run and continues the job after d, at most ten years. The handler must
// return the error that Sleep returns. The job then waits as [Scheduled], in no worker's
// slot, and uses no attempt. When it runs again, Sleep with the same name returns nil.
// The work before a Sleep is repeated when the job continues, unless it is in a [Step]. A
// Sleep counts as a step: its name must differ from those of the job's other steps, and
// it counts towards their limit of 1000. As with a [Snooze], OnError is not called, and
// the event is [EventSnoozed].
//
//	if err := plainjobs.Sleep(ctx, "cool off", 24*time.Hour); err != nil {
//		return err
//	}
//
// A snoozed job with [UntilStarted] takes its unique key again, or is cancelled as
// superseded if another job has the key. When it sleeps, neither happens.
func Sleep(ctx context.Context, name string, d time.Duration) error {
	run, err := runOf(ctx, "Sleep")
	if err != nil {
		return err
	}
	if _, found, err := run.Begin(ctx, name, false); err != nil || found || d <= 0 {
		return stepError(err)
	}
	return run.Sleep(&engine.SleepError{Name: name, Delay: d, Result: []byte("null")})
}

// runOf returns the run that a handler's context belongs to.
func runOf(ctx context.Context, what string) (*engine.Info, error) {
	run := engine.InfoOf(ctx)
	if run == nil {
		return nil, fmt.Errorf("plainjobs: %s outside of a handler: pass the context of the handler", what)
	}
	return run, engine.Lookup(run.Job.Name).RefuseBatch(what)
}

// stepError adds the package's name to an error, but not to that of a run that is to sleep.
func stepError(err error) error {
	if err == nil || errors.As(err, new(*engine.SleepError)) {
		return err
	}
	return fmt.Errorf("plainjobs: %w", err)
}

func storeStep(ctx context.Context, run *engine.Info, tx *sql.Tx, name string, result any) error {
	encoded, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("plainjobs: the result of step %q does not encode: %w", name, err)
	}
	if most := run.Queue.MaxPayload; most > 0 && len(encoded) > most {
		return fmt.Errorf("plainjobs: the result of step %q: %w: %d bytes, at most %d; store it elsewhere and return its key", name, ErrPayloadTooLarge, len(encoded), most)
	}
	return stepError(run.StoreStep(ctx, tx, name, encoded))
}

func decodeStep[T any](run *engine.Info, name string, stored []byte) (result T, err error) {
	if err := json.NewDecoder(bytes.NewReader(stored)).Decode(&result); err != nil {
		var none T
		return none, fmt.Errorf("plainjobs: the stored result of step %q does not decode as %T: restore the type, or do the step again with RetryFrom "+
			"(plainjobs retry --from-step %q %d)", name, none, name, run.Job.ID)
	}
	return result, nil
}

// Steps returns the steps of a job that are stored, in the order in which they were stored first,
// with their results as JSON, encrypted if Options.Codec is set. A [Sleep] and the Wait of a [Signal] are steps, too.
func (q *Queue) Steps(ctx context.Context, id int64) ([]backend.Step, error) {
	store, err := capability[backend.StepStore](q, "steps")
	if err != nil {
		return nil, err
	}
	steps, err := store.Steps(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: %w", err)
	}
	for i := range steps {
		steps[i].Result = encrypt.Text(steps[i].Result)
	}
	return steps, nil
}

// RetryFrom is [Queue.Retry] of one job from a step: it deletes that step and the steps
// stored after it, so that the job does them again. If the job does not exist, is
// Blocked, Pending or Running, or has no such step, the error matches [ErrNotFound].
func (q *Queue) RetryFrom(ctx context.Context, id int64, step string) error {
	operator, err := capability[backend.Operator](q, "retry from a step")
	if err != nil {
		return err
	}
	req := backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{id}}, FromStep: step}
	result, err := operator.Operate(ctx, req)
	switch {
	case err != nil:
		return fmt.Errorf("plainjobs: retry from step %q: %w", step, err)
	case len(result.Duplicates) > 0:
		return fmt.Errorf("plainjobs: retry of job %d: %w: another job has its unique key", id, ErrDuplicate)
	case len(result.Dropped) > 0:
		return fmt.Errorf("plainjobs: retry of job %d: %w: its payload was deleted when it ended; perform a new one", id, ErrDropped)
	case len(result.Affected) == 0:
		return fmt.Errorf("plainjobs: retry of job %d from step %q: %w: the job does not exist, is not finished or scheduled, or has no such step", id, step, ErrNotFound)
	}
	return nil
}
