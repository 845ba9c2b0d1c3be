package plainjobs

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// SetSchedule stores a schedule, or replaces one that an earlier call stored. Unlike
// [Schedule] it is data: it belongs to the store until [Queue.RemoveSchedule], not to a
// program, and each worker takes its ticks, whatever jobs the worker has. The expression is
// one that [Schedule] accepts. At each tick the store pushes the task, which is stored with
// the schedule. Its run finds the tick in [Info].Tick and the schedule in [Info].Schedule.
//
// The options are [Zone], [CatchUp] and [Overlap]. At, Before, OnFailure and RunAtStart do
// not apply, and Options.Metadata is not called. The name must not be that of a schedule
// that a program defines.
//
// A schedule that exists keeps its pause, and its next tick if expression and zone are the
// same. A tick that is due under the old expression still runs, with the new task. A worker
// that runs learns of the schedule within 5 seconds; the ticks until then run late.
func (q *Queue) SetSchedule(ctx context.Context, name, expression string, task Task, opts ...ScheduleOption) error {
	return q.setSchedule(ctx, nil, name, expression, caller(), task, opts)
}

// SetSchedule is [Queue.SetSchedule] in the transaction.
func (q *TxQueue) SetSchedule(ctx context.Context, name, expression string, task Task, opts ...ScheduleOption) error {
	return q.queue.setSchedule(ctx, q.tx, name, expression, caller(), task, opts)
}

// RemoveSchedule deletes a schedule that [Queue.SetSchedule] stored. Its jobs stay. Without
// one, the error matches [ErrNotFound].
func (q *Queue) RemoveSchedule(ctx context.Context, name string) error {
	return q.removeSchedule(ctx, nil, name)
}

// RemoveSchedule is [Queue.RemoveSchedule] in the transaction.
func (q *TxQueue) RemoveSchedule(ctx context.Context, name string) error {
	return q.queue.removeSchedule(ctx, q.tx, name)
}

func (q *Queue) setSchedule(ctx context.Context, tx *sql.Tx, name, expression, where string, task Task, opts []ScheduleOption) error {
	s, next, err := q.storedOf(name, expression, where, task, opts)
	if err != nil {
		return fmt.Errorf("plainjobs: set schedule %q: %w", name, err)
	}
	zone, err := s.Location()
	if err != nil {
		return fmt.Errorf("plainjobs: set schedule: %w", err)
	}
	return q.changeSchedule(ctx, tx, name, func(now time.Time, old *backend.StoredSchedule) (*backend.StoredSchedule, error) {
		s, next := s, *next
		next.Next, _ = s.Next(now, zone)
		if old != nil {
			next.Last, next.Runs, next.Paused = old.Last, old.Runs, old.Paused
			if timing, _, ok := engine.TimingOf(old.Definition); ok && timing.Same(s.Timing) || !old.Next.After(now) {
				next.Next = old.Next
			}
		}
		next.Look = next.Next
		return &next, nil
	})
}

// storedOf returns a schedule, and how it is stored but for its next tick.
func (q *Queue) storedOf(name, expression, where string, task Task, opts []ScheduleOption) (*engine.Schedule, *backend.StoredSchedule, error) {
	if !engine.ValidName(name) {
		return nil, nil, fmt.Errorf("%w: %s", backend.ErrInvalid, engine.NameRule)
	}
	if own := q.engine().Schedule(name); own != nil {
		return nil, nil, fmt.Errorf("%w: this program defines a schedule of the name at %s: use another name", backend.ErrInvalid, own.Where)
	}
	s, err := scheduleOf(name, expression, where, task, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	if s.AtStart {
		return nil, nil, fmt.Errorf("%w: RunAtStart does not apply to a stored schedule: no worker defines it", backend.ErrInvalid)
	}
	job, err := s.TaskOn(q.engine())(time.Time{})
	if n := len(job.Payload); n > q.engine().MaxPayload {
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrPayloadTooLarge, n, q.engine().MaxPayload)
	}
	if d := q.engine().Description; err == nil && d != nil {
		err = check.Fields(*d, &job)
	}
	if err == nil {
		err = q.engine().EncryptJob(&job)
	}
	if err == nil {
		err = check.NewJobs([]backend.NewJob{engine.JobOfTick(job, name, time.Now())})
	}
	if err != nil {
		return nil, nil, err
	}
	s.Task = func(time.Time) (backend.NewJob, error) { return job, nil }
	return s, &backend.StoredSchedule{Name: name, Definition: s.Definition(), Job: job}, nil
}

// changeSchedule changes a stored schedule. A queue for tests, whose store cannot join a transaction,
// changes it at once.
func (q *Queue) changeSchedule(ctx context.Context, tx *sql.Tx, name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) error {
	b, err := capability[backend.Scheduler](q, "schedules")
	if err != nil {
		return err
	}
	if _, ok := q.engine().Backend.(backend.TxPusher); !ok && q.engine().Test {
		tx = nil
	}
	if err := b.ChangeSchedule(ctx, tx, name, change); err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	return nil
}

func (q *Queue) removeSchedule(ctx context.Context, tx *sql.Tx, name string) error {
	return q.changeSchedule(ctx, tx, name, existing(name, func(*backend.StoredSchedule) *backend.StoredSchedule { return nil }))
}

// existing returns a change of a schedule that exists.
func existing(name string, change func(*backend.StoredSchedule) *backend.StoredSchedule) func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) {
	return func(_ time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
		if s == nil {
			return nil, fmt.Errorf("schedule %q: %w", name, ErrNotFound)
		}
		return change(s), nil
	}
}

// ListSchedules returns the schedules that [Queue.SetSchedule] stored, by name: those whose
// names begin with prefix and are above after. limit is at most 1000; 0 is 100. For the next
// page, after is the last name of this one.
func (q *Queue) ListSchedules(ctx context.Context, prefix, after string, limit int) ([]ScheduleInfo, error) {
	b, err := capability[backend.Scheduler](q, "schedules")
	if err != nil {
		return nil, err
	}
	stored, err := b.StoredSchedules(ctx, backend.StoredRequest{Prefix: prefix, After: after, Limit: limit})
	if err != nil {
		return nil, fmt.Errorf("plainjobs: %w", err)
	}
	infos := make([]ScheduleInfo, len(stored.Schedules))
	for i := range infos {
		infos[i] = infoOfSchedule(&stored.Schedules[i])
	}
	return infos, nil
}

func infoOfSchedule(s *backend.StoredSchedule) ScheduleInfo {
	timing, _, _ := engine.TimingOf(s.Definition)
	return ScheduleInfo{
		Name: s.Name, Expression: timing.Spec, Zone: timing.Zone, Job: s.Job.Name, Next: s.Next, Last: s.Last, Paused: s.Paused,
		Stored: true, Problem: s.Problem, Runs: s.Runs,
	}
}

// storedSchedule returns the stored schedule with a name, or nil, and the store's clock.
func (q *Queue) storedSchedule(ctx context.Context, name string) (*backend.StoredSchedule, time.Time, error) {
	b, ok := q.engine().Backend.(backend.Scheduler)
	if !ok {
		return nil, q.engine().Now(), nil
	}
	all, err := b.StoredSchedules(ctx, backend.StoredRequest{Prefix: name, Limit: 1})
	if err != nil || len(all.Schedules) == 0 || all.Schedules[0].Name != name {
		return nil, all.Now, err
	}
	return &all.Schedules[0], all.Now, nil
}

// pauseStored pauses or resumes a stored schedule.
func (q *Queue) pauseStored(ctx context.Context, name string, paused bool) error {
	return q.changeSchedule(ctx, nil, name, existing(name, func(s *backend.StoredSchedule) *backend.StoredSchedule {
		s.Paused = paused
		return s
	}))
}

// Backfill pushes a job for each tick of a schedule from a time on, before another, and
// returns how many it stored. The schedule is one that this program defines or that
// [Queue.SetSchedule] stored. Each job has the schedule and its tick in [Info].Schedule and
// [Info].Tick. Unless the job has its own unique key, its key is that of the tick, so a
// Backfill that is repeated stores no job twice while the first one waits or runs. [Overlap]
// does not apply. The ticks must have passed, and be at most 100,000.
func (q *Queue) Backfill(ctx context.Context, name string, from, to time.Time) (int, error) {
	jobs, err := q.backfill(ctx, name, from, to)
	if err != nil {
		return 0, fmt.Errorf("plainjobs: backfill %q: %w", name, err)
	}
	stored := 0
	for len(jobs) > 0 {
		part := jobs[:min(len(jobs), 1000)]
		pushed, err := pusher{queue: q}.push(ctx, part)
		if err != nil {
			return stored, fmt.Errorf("plainjobs: backfill %q: %d jobs are stored: %w", name, stored, err)
		}
		for _, p := range pushed {
			if !p.Duplicate {
				stored++
			}
		}
		jobs = jobs[len(part):]
	}
	return stored, nil
}

// backfill returns the jobs of Backfill.
func (q *Queue) backfill(ctx context.Context, name string, from, to time.Time) ([]backend.NewJob, error) {
	stored, now, err := q.storedSchedule(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case !from.Before(to):
		return nil, fmt.Errorf("%w: from %v is not before to %v", backend.ErrInvalid, from, to)
	case to.After(now.Add(time.Second)):
		return nil, fmt.Errorf("%w: to %v is in the future: these ticks come by themselves", backend.ErrInvalid, to)
	}
	plan, makeJob, err := q.planOf(name, stored)
	if err != nil {
		return nil, err
	}
	var phase time.Time
	if stored != nil {
		phase = stored.Next
	}
	ticks, err := plan.Between(from, to, phase, plan.Location)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	d := q.engine().Description
	keyed := d == nil || d.Fields&backend.FieldUnique != 0
	jobs := make([]backend.NewJob, len(ticks))
	for i, tick := range ticks {
		job, err := makeJob(tick)
		if err != nil {
			return nil, err
		}
		job = engine.JobOfTick(job, name, tick)
		if own := (backend.Unique{Key: "schedule " + name}); keyed && (job.Unique.Key == "" || job.Unique == own) {
			job.Unique = backend.Unique{Key: own.Key + " at " + tick.UTC().Format(time.RFC3339Nano)}
		}
		jobs[i] = job
	}
	return jobs, nil
}

// planOf returns the plan of a schedule that this program defines or that is stored, and what makes
// its jobs.
func (q *Queue) planOf(name string, stored *backend.StoredSchedule) (plan engine.StoredPlan, makeJob func(time.Time) (backend.NewJob, error), err error) {
	if own := q.engine().Schedule(name); own != nil {
		plan.Timing = own.Timing
		plan.Location, err = own.Location()
		return plan, func(tick time.Time) (backend.NewJob, error) { return q.engine().Make(own, tick) }, err
	}
	if stored == nil {
		return plan, nil, fmt.Errorf("%w: no schedule is stored under the name, and this program defines none", ErrNotFound)
	}
	plan, err = engine.PlanOf(stored)
	return plan, func(time.Time) (backend.NewJob, error) { return stored.Job, nil }, err
}
