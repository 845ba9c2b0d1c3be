package plainjobs

import (
	"context"
	"errors"
	"fmt"
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

// push stores jobs and emits their events.
func (q *Queue) push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := q.engine().Backend.Push(ctx, jobs)
	if err == nil && q.engine().Events.Wanted() {
		for i, p := range pushed {
			if !p.Duplicate {
				now := q.engine().Now().UTC()
				q.engine().Events.Emit(q.engine().Log(), engine.Event{Kind: engine.Pushed, Job: jobOfPush(&jobs[i], p.ID, now)})
			}
		}
	}
	return pushed, err
}

// jobOfPush returns the job that was pushed at now.
func jobOfPush(n *backend.NewJob, id int64, now time.Time) *backend.Job {
	j := &backend.Job{
		Lease: backend.Lease{ID: id}, Name: n.Name, Payload: n.Payload, Priority: n.Priority,
		MaxAttempts: n.MaxAttempts, Attempt: 1, Metadata: n.Metadata, UniqueKey: n.Unique.Key, SerialKey: n.Serial,
		CreatedAt: now, RunAt: runAt(n, now), Expires: n.Expires,
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

type push func(context.Context, []backend.NewJob) ([]backend.Pushed, error)

// NewJobs returns the jobs that PerformMany would store for tasks, and stores nothing.
// It is for a store whose transactions are not *sql.Tx: pass the jobs to the store's
// method that pushes within a transaction. NewJobs makes the checks of PerformMany and
// adds the metadata. Such a push has no events and does not set [Stored].
func (q *Queue) NewJobs(ctx context.Context, tasks ...Task) ([]backend.NewJob, error) {
	if q.engine().Closed.Load() {
		return nil, fmt.Errorf("plainjobs: perform: %w", backend.ErrClosed)
	}
	var metadata []byte
	if q.engine().Metadata != nil {
		var err error
		if metadata, err = encodeMetadata(q.engine().Metadata(ctx)); err != nil {
			return nil, fmt.Errorf("plainjobs: perform: metadata does not encode: %w", err)
		}
	}
	jobs := make([]backend.NewJob, len(tasks))
	for i := range tasks {
		var err error
		if jobs[i], err = tasks[i].stored(q.engine(), metadata); err != nil {
			if len(tasks) > 1 {
				return nil, fmt.Errorf("plainjobs: perform %s, task %d: %w", tasks[i].name(), i, err)
			}
			return nil, fmt.Errorf("plainjobs: perform %s: %w", tasks[i].name(), err)
		}
	}
	return jobs, nil
}

func (q *Queue) perform(ctx context.Context, tasks []Task, push push) ([]int64, error) {
	jobs, err := q.NewJobs(ctx, tasks...)
	if err != nil {
		return nil, err
	}
	pushed, err := push(ctx, jobs)
	if err != nil {
		if len(tasks) == 1 {
			return nil, fmt.Errorf("plainjobs: perform %s: %w", tasks[0].name(), err)
		}
		return nil, fmt.Errorf("plainjobs: perform %d tasks: %w", len(tasks), err)
	}
	if run := engine.InfoOf(ctx); len(pushed) == 1 && pushed[0].Duplicate && jobs[0].Unique.Conflict == backend.KeepFirst &&
		run != nil && run.Queue == q.engine() && run.Job.ID == pushed[0].ID {
		return nil, fmt.Errorf("plainjobs: perform %s: nothing was stored: the job that performs it has its unique key until it ends; "+
			"use UntilStarted, another key or Snooze: %w", tasks[0].name(),
			&backend.DuplicateError{Name: jobs[0].Name, Key: jobs[0].Unique.Key, ID: pushed[0].ID})
	}
	ids := make([]int64, len(pushed))
	for i, p := range pushed {
		ids[i] = p.ID
		if stored := tasks[i].extra().stored; stored != nil {
			*stored = !p.Duplicate
		}
	}
	return ids, nil
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

// stored returns the task as the store takes it.
func (t Task) stored(q *engine.Queue, metadata []byte) (backend.NewJob, error) {
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
	if q.Description != nil {
		return j, check.Fields(*q.Description, &j)
	}
	return j, nil
}
