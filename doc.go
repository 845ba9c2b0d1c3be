// Package plainjobs runs background jobs in the database that a program
// already has: typed jobs are pushed to a queue in a SQLite file or in
// PostgreSQL, and workers in this or other processes run them at least once.
//
// A job is a package-level variable, with its handler if it is made by [Define];
// for one made by [Declare], [Handle] binds it. A task is a job with its data.
//
//	var Welcome = plainjobs.Define("welcome", func(ctx context.Context, u User) error {
//		return mail.Send(ctx, u.Email, "Welcome!")
//	})
//
//	store, err := modernc.Open("app.db", nil)
//	queue := plainjobs.New(store, nil)
//	id, err := queue.Perform(ctx, Welcome.With(user))
//	id, err = queue.WithTx(tx).Perform(ctx, Welcome.With(user)) // if and when tx commits
//	err = worker.New(queue, nil).Run(ctx)                       // here or elsewhere
//
// A job that Perform acknowledged is not lost, neither by a crash nor, by
// default, by a power cut. It may run again after a crash, so handlers should
// be idempotent; a run whose worker was taken for dead cannot settle its job.
//
// What else there is:
//   - How a run ends: [Cancel], [RetryAfter], [Snooze], [Backoff], [Timeout];
//     with its effects, by [Complete]; with a result, by [DefineResult].
//   - When and how often: [In], [At], [Before], [Priority]; [Unique], [Serial],
//     [Concurrency], [MaxRunning], [RateLimit], [MaxPending], [MaxCrashes]; [Cron], [Every].
//   - Looking and steering: [Queue.List], [Queue.Why], [Queue.Retry],
//     [Queue.Pause], [Queue.Subscribe]; package cli has them as commands.
//   - Tests: under go test the function [Perform] runs a job at once; package
//     plainjobstest has queues to look into.
//   - Stores: packages backend/sqlite and backend/postgres, and those of their
//     drivers; package backend is the contract, and conformance its tests.
package plainjobs
