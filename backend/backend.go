// Package backend is the contract between plainjobs and the stores that keep
// its jobs.
//
// Applications use package plainjobs; this package is for those who write a
// store. A store is right when [conformance.Run] passes on it, and this
// package's comments are enough to write one: every "must" here is a case
// there. Package [lifecycle] has the rules by which a job changes state, as pure
// functions.
//
// # Terms
//
// A job is claimed by a worker, which thereby holds a [Lease] on it, and ends
// the run by settling the lease with Complete or Fail. A worker is one process
// (strictly: one worker.Worker) and has one row in the store, which Claim and
// Beat renew. When the row is not renewed in time, or is gone, the worker is
// dead, and Reap makes the jobs that it held pending again.
//
// # Time
//
// A store has one clock: the server's, or one that is given to it. Requests
// carry durations, which the store adds to its clock. Instants they carry only
// where an application names them, see [NewJob].
// Instants are kept as whole microseconds UTC, rounded down.
//
// # Optional capabilities
//
// What not every store can do is an interface in this package, found by type
// assertion: [TxPusher], [Heartbeater], [Reader], [SettingsStore], [Scheduler], [Operator],
// [DeathDetector], [Waiter], [Describer], [Inspector], [Transferer] and
// [io.Closer]. A good store has them all.
//
// [lifecycle]: https://pkg.go.dev/github.com/plainjobs/plainjobs/backend/lifecycle
// [conformance.Run]: https://pkg.go.dev/github.com/plainjobs/plainjobs/conformance#Run
package backend

import "context"

// A Backend stores jobs and leases them to workers.
//
// All methods must be safe for concurrent use by goroutines and, where the
// store is shared, by processes. They take batches, must not keep their
// arguments, and do nothing for an empty batch. They must return soon after
// their context ends, with an error that matches the context's, and leave no
// transaction open. Conflicts that go away by themselves (a busy file, a
// deadlock, a serialization failure) must be retried inside.
//
// An error means that nothing was changed, except where the store broke while
// it answered: then the batch took effect as a whole or not at all. Every
// method but Push may be repeated after any error.
type Backend interface {
	// Push stores all of the jobs, or none, and returns one Pushed for each,
	// in their order. A batch in which [CheckNewJobs] finds a fault, or that
	// has a payload larger than the store's [Description] says, must be
	// refused with an error that matches ErrInvalid; one that breaks a bound
	// of [NewJob] with an error that matches ErrDuplicate or ErrQueueFull.
	//
	// When Push has returned nil the jobs must survive a crash of the
	// process and, if the store says [PowerLoss], a power cut. IDs must
	// never be used twice, not even after a job is deleted or the store
	// reopened.
	Push(ctx context.Context, jobs []NewJob) ([]Pushed, error)

	// Claim leases up to req.Limit pending jobs with one of req.Names to
	// req.Worker and returns them in the order of priority (higher first),
	// then [Job.RunAt] (earlier first), then ID (lower first), over all names
	// together. A scheduled job whose time has come counts as pending; of many
	// that have come due at once a store may take a bounded number with each
	// claim, the longest due first. Finding none is no error, and Claim never
	// waits for a job.
	//
	// Claim must be atomic: no two claims ever hold the same job at once.
	// Its cost must depend on the limit and the number of names, never on
	// how many jobs wait, are scheduled or are finished.
	//
	// It stops before the payloads together exceed req.MaxBytes, but returns
	// one job at least. It returns none of names that are paused, no more
	// than the [Settings] of a name allow, and cancels instead of returning
	// what has expired, a bounded number.
	//
	// A suspect (see [Job.Suspect]) is returned only if req.Suspects is set,
	// and then alone: no claim returns more than one, or anything with it.
	// Pauses, settings and caps hold for suspects too.
	//
	// Claim renews the worker's row in its own transaction. If there is no
	// such row it creates it when req.Register is set, and otherwise claims
	// nothing and returns ErrWorkerGone. A claim with a limit of zero does
	// only this.
	Claim(ctx context.Context, req ClaimRequest) ([]Job, error)

	// Complete ends runs that went well: their jobs are done. It returns the
	// leases that were not held any more, whose jobs it must leave alone.
	//
	// A lease is held from Claim until it is settled or reaped. That its
	// time has passed takes no authority away; reaping does. Settling the
	// same lease in the same way again must succeed and change nothing (the
	// first answer may have been lost), until the job is claimed again or
	// deleted; in another way, it is lost.
	Complete(ctx context.Context, done []Completion) (lost []Lease, err error)

	// Fail ends runs in any other way, see [Ending]. What is said of
	// Complete about leases holds here too. Fail must store any error text,
	// after [CleanError].
	Fail(ctx context.Context, failures []Failure) (lost []Lease, err error)

	// Reap makes the store whole: it rescues running jobs whose worker has
	// no row, those whose worker did not renew its row in time, as far as
	// [Silence.Judge] finds it dead, and those in req.Dead, whose rows it
	// deletes; it makes due jobs pending, cancels waiting ones that have
	// expired, and deletes history, unique keys and schedules that are past
	// their keep.
	//
	// A rescued job must get a state and token that no lease matches, become
	// pending, and be a suspect from then on. One that was a suspect already,
	// and the only job that its worker held, has crashed its worker: if
	// [Settings.Condemns] its name's crashes it is failed instead. A death that
	// other jobs could have caused counts against none. Rescuing spends no
	// attempt.
	//
	// Jobs may have been deleted or changed by other means than this package. A
	// store where that can be must correct, in some of these calls, what would
	// then keep others from being pushed or claimed for ever: how many wait and
	// run, and keys of jobs that are gone. It may take no more of the time for
	// that than it counts against none.
	//
	// Any number of processes may reap at once. A job that is settled
	// meanwhile must stay settled. The result says what was done, with an
	// error too.
	Reap(ctx context.Context, req ReapRequest) (ReapResult, error)
}
