package plainjobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// one returns the ID of a single task.
func one(ids []int64, err error) (int64, error) {
	if d := (*backend.DuplicateError)(nil); errors.As(err, &d) {
		return d.ID, err
	}
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// A pusher is where tasks are stored: in a queue, in a transaction unless tx is nil, as
// members of groups.
type pusher struct {
	queue   *Queue
	tx      *sql.Tx
	members *backend.Gating // nil if they are members of none
	awaited bool            // jobs that are stored wait for the members
}

// refuseDuplicate makes the push of a job fail if its unique key is taken: the job that has the
// key might wait for a job that is to wait for this one.
func refuseDuplicate(j *backend.NewJob) {
	if j.Unique.Key != "" && j.Unique.Conflict == backend.KeepFirst {
		j.Unique.Conflict = backend.Reject
	}
}

// push stores jobs and emits their events.
func (p pusher) push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if p.members != nil {
		for i := range jobs {
			jobs[i].Gating = p.members
			if p.awaited {
				refuseDuplicate(&jobs[i])
			}
		}
	}
	q := p.queue.engine()
	if p.tx == nil {
		pushed, err := q.Backend.Push(ctx, jobs)
		if err == nil {
			p.queue.pushed(jobs, pushed)
		}
		return pushed, err
	}
	b, ok := q.Backend.(backend.TxPusher)
	if !ok && q.Test {
		return q.Record(ctx, jobs)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %T cannot join a transaction", errors.ErrUnsupported, q.Backend)
	}
	return b.PushTx(ctx, p.tx, jobs)
}

// pushed emits the events of jobs that were pushed.
func (q *Queue) pushed(jobs []backend.NewJob, pushed []backend.Pushed) {
	if !q.engine().Events.Wanted() {
		return
	}
	for i, p := range pushed {
		if !p.Duplicate {
			now := q.engine().Now().UTC()
			q.engine().Events.Emit(q.engine().Log(), engine.Event{Kind: engine.Pushed, Job: jobOfPush(&jobs[i], p.ID, now)})
		}
	}
}

// jobOfPush returns the job that was pushed at now.
func jobOfPush(n *backend.NewJob, id int64, now time.Time) *backend.Job {
	j := &backend.Job{
		Lease: backend.Lease{ID: id}, Name: n.Name, Payload: n.Payload, Priority: n.Priority,
		MaxAttempts: n.MaxAttempts, Attempt: 1, Metadata: n.Metadata, UniqueKey: n.Unique.Key, SerialKey: n.Serial,
		CreatedAt: now, RunAt: runAt(n, now), Expires: n.Expires, Gating: n.Gating,
	}
	if !n.ExpiresAt.IsZero() {
		j.Expires = n.ExpiresAt.Sub(now)
	}
	return j
}

// runAt returns when a job that was pushed at now may run.
func runAt(j *backend.NewJob, now time.Time) time.Time {
	if j.RunAt.After(now) {
		return j.RunAt.UTC()
	}
	return now.Add(j.Delay)
}

// NewJobs returns the jobs that PerformMany would store for tasks, and stores nothing.
// It is for a store whose transactions are not *sql.Tx: pass the jobs to the store's
// method that pushes within a transaction. NewJobs makes the checks of PerformMany and
// adds the metadata. Such a push has no events and does not set [Stored]. NewJobs refuses
// tasks with [OnFailure].
func (q *Queue) NewJobs(ctx context.Context, tasks ...Task) ([]backend.NewJob, error) {
	metadata, err := q.metadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: perform: %w", err)
	}
	jobs := make([]backend.NewJob, len(tasks))
	for i := range tasks {
		if jobs[i], err = tasks[i].stored(q.engine(), metadata); err != nil {
			return nil, performError(tasks, i, err)
		}
	}
	return jobs, nil
}

// metadata returns what a push stores with all of its jobs.
func (q *Queue) metadata(ctx context.Context) ([]byte, error) {
	if q.engine().Closed.Load() {
		return nil, backend.ErrClosed
	}
	if q.engine().Metadata == nil {
		return nil, nil
	}
	metadata, err := encodeMetadata(q.engine().Metadata(ctx))
	if err != nil {
		return nil, fmt.Errorf("metadata does not encode: %w", err)
	}
	return metadata, nil
}

// performError adds the task to an error: the one at index i, or all if i is negative.
func performError(tasks []Task, i int, err error) error {
	switch {
	case len(tasks) == 1:
		return fmt.Errorf("plainjobs: perform %s: %w", tasks[0].name(), err)
	case i < 0:
		return fmt.Errorf("plainjobs: perform %d tasks: %w", len(tasks), err)
	}
	return fmt.Errorf("plainjobs: perform %s, task %d: %w", tasks[i].name(), i, err)
}

func (p pusher) perform(ctx context.Context, tasks []Task) ([]int64, error) {
	if slices.ContainsFunc(tasks, func(t Task) bool { return t.more != nil && t.more.failure != nil }) {
		return p.performWithCallbacks(ctx, tasks)
	}
	jobs, err := p.queue.NewJobs(ctx, tasks...)
	if err != nil {
		return nil, err
	}
	pushed, err := p.push(ctx, jobs)
	if err != nil {
		return nil, performError(tasks, -1, err)
	}
	if run := engine.InfoOf(ctx); len(pushed) == 1 && pushed[0].Duplicate && jobs[0].Unique.Conflict == backend.KeepFirst &&
		run != nil && run.Queue == p.queue.engine() && run.Job.ID == pushed[0].ID {
		return nil, fmt.Errorf("plainjobs: perform %s: nothing was stored: the job that performs it has its unique key until it ends; "+
			"use UntilStarted, another key or Snooze: %w", tasks[0].name(),
			&backend.DuplicateError{Name: jobs[0].Name, Key: jobs[0].Unique.Key, ID: pushed[0].ID})
	}
	for i, p := range pushed {
		if stored := tasks[i].extra().stored; stored != nil {
			*stored = !p.Duplicate
		}
	}
	return idsOf(pushed), nil
}

func idsOf(pushed []backend.Pushed) []int64 {
	ids := make([]int64, len(pushed))
	for i, p := range pushed {
		ids[i] = p.ID
	}
	return ids
}

func (t *Task) name() string {
	if t.def == nil {
		return "a zero Task"
	}
	return t.def.Name
}

// on returns the task with the job's options on a queue.
func (t Task) on(q *engine.Queue) Task {
	if own := q.Definition(t.def); own != t.def {
		if !t.ownAttempts {
			t.job.MaxAttempts = own.MaxAttempts
		}
		if !t.ownPriority {
			t.job.Priority = own.Priority
		}
		t.job.MaxPending = own.MaxPending
	}
	return t
}

// stored returns the task as the store takes it. A task with callbacks is more than a job.
func (t Task) stored(q *engine.Queue, metadata []byte) (backend.NewJob, error) {
	if t.more != nil && t.more.failure != nil {
		return backend.NewJob{}, errors.New("OnFailure stores a second job: use Perform or PerformMany, not NewJobs or a schedule")
	}
	return t.newJob(q, metadata)
}

// newJob returns the task's own job as the store takes it.
func (t Task) newJob(q *engine.Queue, metadata []byte) (backend.NewJob, error) {
	t = t.on(q)
	j, maxPayload := t.job, q.MaxPayload
	switch {
	case t.def == nil:
		return j, errors.New("make tasks with Job.With")
	case t.err != nil:
		return j, t.err
	case len(j.Payload) > maxPayload:
		return j, fmt.Errorf("%w: %d bytes, at most %d; store the data elsewhere and pass a reference, "+
			"or set Options.MaxPayload", ErrPayloadTooLarge, len(j.Payload), maxPayload)
	}
	// The store decides by its own clock.
	if t.at.Sub(q.Now()) > maxDelay {
		return j, fmt.Errorf("At(%v) is not within 100 years", t.at)
	}
	more := t.extra()
	if more.before.Sub(q.Now()) > maxDelay {
		return j, fmt.Errorf("Before(%v) is not within 100 years", more.before)
	}
	j.RunAt, j.ExpiresAt = t.at, more.before
	var err error
	if j.Metadata, err = addMetadata(metadata, more.metadata); err != nil {
		return j, fmt.Errorf("metadata do not encode: %w", err)
	}
	if err := q.EncryptJob(&j); err != nil {
		return j, err
	}
	if q.Description != nil {
		return j, check.Fields(*q.Description, &j)
	}
	return j, nil
}
