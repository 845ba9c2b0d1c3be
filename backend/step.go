package backend

import (
	"context"
	"database/sql"
	"time"
)

// A Step is a part of a job's work that is done, with its result.
type Step struct {
	Name   string    // 1 to 255 bytes of UTF-8 without NUL
	Result []byte    // opaque; nil is empty
	At     time.Time // when it was first stored; StoreStep ignores it
}

// A SignalKey names a [Signal].
type SignalKey struct {
	Name string // as NewJob.Name
	Key  string // at most 255 bytes of UTF-8 without NUL
}

// A Signal is a payload that is sent once, to all jobs that ask for its key.
type Signal struct {
	SignalKey
	Payload []byte    // opaque; nil is empty
	At      time.Time // when it was sent; SendSignal ignores it
}

// KeepSignals is how long a signal is kept after it was sent.
const KeepSignals = 30 * 24 * time.Hour

// A StepStore is a Backend that stores the steps of jobs and sends them signals.
//
// A job has at most one step with a name. Its steps stay until the job is deleted, whatever its
// state, except that OpRetry of a Done job deletes them. [Job].HasSteps is set if the job has a
// step. Export and Import carry steps and signals.
//
// A method with a tx that is not nil works in that transaction, under the rules of [TxPusher]. A
// store that is no TxPusher must refuse it with an error that matches [errors.ErrUnsupported].
type StepStore interface {
	// Steps returns the steps of a job in the order in which they were first stored. A job that is
	// not stored has none.
	Steps(ctx context.Context, job int64) ([]Step, error)
	// StoreStep stores a step, as durably as a push. If the lease is not held, it stores nothing and
	// returns an error that matches ErrLeaseLost. A step that has the name takes the result and keeps
	// its place and time.
	StoreStep(ctx context.Context, tx *sql.Tx, lease Lease, step Step) error
	// LockStep locks the lease until tx ends, so that the job cannot be rescued meanwhile, and
	// returns the step with the name. If the lease is not held, the error matches ErrLeaseLost.
	LockStep(ctx context.Context, tx *sql.Tx, lease Lease, name string) (step Step, stored bool, err error)
	// SendSignal stores a signal, as durably as a push, and makes the jobs that wait for it pending
	// now: those whose last run ended with [Failure].Signal, and that are still Scheduled. If a
	// signal has the key already, SendSignal changes nothing and returns an error that matches
	// ErrDuplicate. Reap deletes signals that were sent [KeepSignals] ago.
	SendSignal(ctx context.Context, tx *sql.Tx, signal Signal) error
	// Signal returns a signal, or an error that matches ErrNotFound.
	Signal(ctx context.Context, key SignalKey) (Signal, error)
}
