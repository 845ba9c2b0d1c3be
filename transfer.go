package plainjobs

import (
	"context"
	"fmt"
	"io"

	"github.com/plainjobs/plainjobs/internal/transfer"
)

// A Transfer counts what [Queue.Export] has written, [Queue.Import] has read, or
// [Queue.MoveTo] has copied.
type Transfer struct {
	// Jobs is the number of jobs, and Counts the number of each name and
	// state, as they were in the source.
	Jobs   int64
	Counts []Count
	// Settings is the number of names with limits, a history of their own or a
	// pause.
	Schedules, Settings int64
	// Groups and Signals are the numbers of groups and of signals.
	Groups, Signals int64
	// Present is the number of jobs that the target had already.
	Present int64
	// Superseded is the number of jobs that were cancelled because other jobs
	// have their unique keys.
	Superseded int64
	// Pruned is the number of finished jobs that were left out because the
	// target keeps its history for less time.
	Pruned int64
	// Sum is a SHA-256 in hexadecimal: of all lines before the last one, or of
	// the jobs that were moved.
	Sum string
}

// Export writes the jobs that match the filter to w as lines of JSON, for [Queue.Import]:
// each job whole, with its payload and steps, lowest ID first. With the zero filter,
// which matches every job, it also writes limits, pauses, groups, signals and schedules.
// With any other filter it writes none of these, and an imported job belongs to no group.
//
// The queue may be in use. Each job that exists throughout is written once, as it is when
// it is read; jobs pushed after the start are left out. To export one point in time,
// pause the queue first: otherwise the counts of a group may differ from its jobs, which
// the command doctor --repair corrects. If Export fails, the last line is missing, and
// Import returns an error; see there for what it has stored by then.
func (q *Queue) Export(ctx context.Context, w io.Writer, filter Filter) (Transfer, error) {
	return transferred("export")(transfer.Export(ctx, q.engine().Backend, w, filter.stored(), q.engine().Now()))
}

// Import stores what [Queue.Export] has written, under the same IDs. Jobs that
// were running wait again. Import leaves a job that is present already as it is.
// If another job has its ID, Import returns an error that matches
// [ErrDuplicate]: import into an empty queue, or into the queue that was
// exported. Import restores pauses too. If the exported queue was paused as a whole, call
// [Queue.Resume] afterwards.
//
// A damaged line and a missing end are errors that name the line. If r is an [io.Seeker],
// such as a file, Import reads all of it before it stores anything. If r is no io.Seeker,
// or if the store fails, the jobs before the error are stored, some hundreds at a time,
// and calling Import again with the same lines continues. Run no workers until it is
// done: if Import has to be called again, it would store a job again that has run and was
// pruned in between.
func (q *Queue) Import(ctx context.Context, r io.Reader) (Transfer, error) {
	return transferred("import")(transfer.Import(ctx, q.engine().Backend, r))
}

// MoveTo copies the queue into another store, which is empty or has only what earlier
// calls copied: jobs with their IDs, attempts, keys, steps and history, groups, signals,
// limits, pauses of names, and schedules.  A move that was killed continues when it is
// called again.
//
// MoveTo pauses both queues, so that the workers of both wait, and waits for
// running jobs; it rescues those of dead workers. It copies in batches, then
// reads both stores and compares each job. Both queues are still paused at the
// end: stop the workers of the old queue, let the program open the new one, and
// call [Queue.Resume] on it. To give up before that, resume the old queue.
//
// Programs may push to the old queue until they are stopped. Jobs pushed after the copy
// stay in the old queue; to copy them, call MoveTo again before anything is pushed to the
// new one.
//
// MoveTo calls report, unless it is nil, with each step, in words.
func (q *Queue) MoveTo(ctx context.Context, to *Queue, report func(text string)) (Transfer, error) {
	if report == nil {
		report = func(string) {}
	}
	return transferred("move")(transfer.Move(ctx, q.engine().Backend, to.engine().Backend, report))
}

func transferred(op string) func(transfer.Summary, error) (Transfer, error) {
	return func(s transfer.Summary, err error) (Transfer, error) {
		if err != nil {
			err = fmt.Errorf("plainjobs: %s: %w", op, err)
		}
		return Transfer(s), err
	}
}
