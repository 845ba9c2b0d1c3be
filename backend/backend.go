// Package backend is the contract between plainjobs and the stores that keep its jobs.
//
// Applications use package plainjobs. This package is for authors of stores. A store is correct if
// [conformance.Run] passes on it. Package [check] refuses requests that break a rule. Package
// [lifecycle] has the rules by which a job changes state, as pure functions. Package backend/memory
// is a complete store, as an example.
//
// # Terms
//
// A worker is one worker.Worker, usually one process. It has a row in the store, which Claim and
// Heartbeat renew. A claim gives a worker a [Lease] on each job that it returns. Complete and Fail
// settle the lease, which ends the run. A worker is dead if its row is gone or is not renewed in
// time: Reap then rescues the jobs that it held, which makes them pending again. A job waits while
// it is Scheduled, Blocked or Pending.
//
// # Time
//
// A store has one clock: the clock of its server, or one that its options set. Requests carry
// durations, which the store adds to its clock, and instants only where the application names one;
// see [NewJob]. A store keeps instants in whole microseconds UTC, rounded down. The clock may jump.
// After a jump, pending jobs run, running jobs keep their leases, and nothing waits for the clock
// to catch up.
//
// # Optional capabilities
//
// A store begins with the five methods of [Backend]. Every other capability is an interface, found
// by type assertion: [TxPusher], [Heartbeater], [Reader], [SettingsStore], [Scheduler], [Operator],
// [DeathDetector], [Waiter], [Describer], [Inspector], [ExportImporter], [GateStore], [StepStore] and
// [io.Closer]. [Fields] lists the optional fields of [NewJob] and [Settings].
//
// [check]: https://pkg.go.dev/github.com/plainjobs/plainjobs/backend/check
// [lifecycle]: https://pkg.go.dev/github.com/plainjobs/plainjobs/backend/lifecycle
// [conformance.Run]: https://pkg.go.dev/github.com/plainjobs/plainjobs/conformance#Run
package backend

import "context"

// A Backend stores jobs and leases them to workers.
//
// Methods must be safe for concurrent use by goroutines and, if the store is shared, by processes.
// They take batches, do nothing for an empty batch, and must not retain their arguments. They must
// return soon after their context ends, with an error that matches the context's, and leave no
// transaction open. They must retry conflicts that pass by themselves: a busy file, a deadlock, a
// serialization failure. A method, of an optional interface too, must refuse a request that the
// function of its name in package check refuses.
//
// An error means that nothing was changed, unless the store failed while it answered: then the
// whole batch took effect, or none of it. Every method except Push may be repeated after any error.
type Backend interface {
	// Push stores all jobs or none, and returns one Pushed for each, in their order. It must refuse
	// a batch that breaks a bound of [NewJob] with an error that matches ErrDuplicate or
	// ErrQueueFull.
	//
	// After Push has returned nil, the jobs must survive what [Description.Durability] says. IDs
	// must never be reused, not even after a job is deleted or the store is reopened.
	Push(ctx context.Context, jobs []NewJob) ([]Pushed, error)

	// Claim leases up to req.Limit pending jobs of the names in req.Names to req.Worker. It returns
	// them by priority (higher first), then [Job.RunAt] (earlier first), then ID (lower first), over
	// all names together. Scheduled jobs that are due count as pending. If many are due at once, a
	// store may make a bounded number of them pending in each claim, the longest due first. Claim
	// returns no error if it finds no job, and never waits for one.
	//
	// Claim must be atomic: two claims never hold one job. Its cost must depend on the limit and the
	// number of names, not on the number of stored jobs.
	//
	// The payloads together must not exceed req.MaxBytes, except that one job is always returned.
	// Claim returns no jobs of paused names, and no more than the [Settings] of a name allow. It
	// cancels expired jobs that it meets, a bounded number, and they take no place in the result.
	//
	// A suspect (see [Job.Suspect]) is returned only if req.Suspects is set, only if it comes first
	// in the order, and then alone. Otherwise the claim returns other jobs, as if there were no
	// suspects. Pauses, settings and MaxPerName apply to suspects too.
	//
	// In the same transaction, Claim renews the worker's row and stores the request's Lease in it.
	// Without a row, it creates one if req.Register is set, and otherwise returns ErrWorkerGone and
	// claims nothing. A claim with a limit of zero does only this.
	Claim(ctx context.Context, req ClaimRequest) ([]Job, error)

	// Complete ends successful runs: their jobs are Done. It returns the leases that are no longer
	// held, and leaves their jobs alone.
	//
	// A lease is held from Claim until it is settled or its job is rescued, even after its time has
	// passed. Settling a lease again in the same way succeeds and changes nothing, because the first
	// answer may have been lost, until the job is claimed again or deleted. If a settled lease is
	// settled in another way, it is returned as lost.
	Complete(ctx context.Context, done []Completion) (lost []Lease, err error)

	// Fail ends runs in any other way; see [Ending]. The rules of Complete on leases apply. Fail
	// must store every error text after [CleanError]. Settling a lease by Complete or Fail ends
	// suspicion: the job is no suspect any more and its count of crashes is zero, except after
	// EndRelease.
	Fail(ctx context.Context, failures []Failure) (lost []Lease, err error)

	// Reap repairs the state of jobs after crashes and the passage of time. It rescues the jobs of
	// three kinds of workers: those without a row, those in req.Dead, and those that did not renew
	// their row in time and that lifecycle.Silence finds dead. A row renewed a lease or more in the
	// future, by the store's clock, counts as not renewed in time. Reap deletes the rows of dead
	// workers, makes due jobs pending (the longest due first), cancels waiting jobs that have
	// expired, and deletes expired history, unique keys and schedules.
	//
	// A rescued job becomes a pending suspect, and no lease matches its state and token. Rescuing
	// spends no attempt. If the job was already a suspect and the only job that its worker held, it
	// has crashed its worker: the crash is counted, and at [Settings.MaxCrashes] the job fails with
	// [CrashError] instead. A death that another job could have caused counts against no job.
	//
	// If jobs can be deleted or changed by other means than this package, some calls of Reap must
	// correct what would otherwise stop pushes or claims for ever: the counts of waiting and running
	// jobs, and keys of jobs that are gone.
	//
	// Any number of processes may reap at once. A job that is settled meanwhile stays settled. The
	// result says what was done, with an error too.
	Reap(ctx context.Context, req ReapRequest) (ReapResult, error)
}
