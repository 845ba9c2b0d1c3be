// Package plainjobs runs background jobs in the database that a program
// already has: typed jobs are pushed to a queue that lives in a SQLite file,
// and workers in this or other processes run them at least once.
//
// # Jobs
//
// A job is a package-level variable: a name, the type of its data and, with
// [Define], its handler.
//
//	var Welcome = plainjobs.Define("welcome", func(ctx context.Context, u User) error {
//		return mail.Send(ctx, u.Email, "Welcome!")
//	})
//
// A handler with dependencies is bound where they are known: [Declare] the
// job, then [Handle] it. Data travel as JSON.
//
// # Queues
//
// A [Queue] is opened on a store, and takes a [Task], which is a job with its
// data.
//
//	store, err := modernc.Open("app.db", nil)
//	queue := plainjobs.New(store, nil)
//	id, err := queue.Perform(ctx, Welcome.With(user))
//	id, err = queue.WithTx(tx).Perform(ctx, Welcome.With(user)) // if and when tx commits
//
// # Workers
//
// Package worker runs them: worker.New(queue, nil).Run(ctx).
//
// # Delivery
//
// A job that Perform acknowledged is not lost, neither by a crash nor, by
// default, by a power cut. It runs at least once: a worker that dies has its
// jobs run again by others, so handlers should be idempotent. A run whose
// worker was taken for dead cannot settle the job any more.
package plainjobs
