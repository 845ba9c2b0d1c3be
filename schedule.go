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

// A ScheduleOption is an option of [Cron], [Every] or [Schedule]. Cron and Every also
// take each [DefineOption], for their job; Schedule refuses them.
type ScheduleOption interface {
	schedule(*engine.Schedule, *engine.Definition) error
}

type scheduleOption func(*engine.Schedule) error

func (o scheduleOption) schedule(s *engine.Schedule, _ *engine.Definition) error { return o(s) }

// Zone is the time zone of a schedule's wall clock, for example "Europe/Berlin". The
// default is UTC. A worker of the job does not start if the zone is unknown.
func Zone(name string) ScheduleOption {
	return scheduleOption(func(s *engine.Schedule) error {
		if s.Zone = name; s.Every > 0 {
			return fmt.Errorf("Zone: every %v follows no wall clock: leave the option out", s.Every)
		}
		return nil
	})
}

// CatchUp sets how many late ticks run, at least, when a worker runs again or a pause
// ends. A tick is late if, at its time, no worker that has the schedule runs, or the
// job's name or the whole queue is paused. Late ticks of the last minute run, up to 1000
// of them. If these are fewer than n, the latest older ones run too, until n have run.
// Other late ticks never run. With CatchUp(3), after an hour without a worker, a tick
// every 10 minutes runs three times, and a tick every 10 seconds six times. n is from 0
// to 1000; the default is 1. The store forgets a schedule if for 30 days other workers
// run and none has the schedule.
func CatchUp(n int) ScheduleOption {
	return scheduleOption(func(s *engine.Schedule) error {
		if s.CatchUp = n; n < 0 || n > 1000 {
			return fmt.Errorf("CatchUp(%d) is not within 0 and 1000", n)
		}
		return nil
	})
}

// RunAtStart also runs the schedule's job when a worker that has the schedule starts. If
// several start, at most one such run waits or runs at a time. Without the option the
// first run comes with the first tick.
func RunAtStart() ScheduleOption {
	return scheduleOption(func(s *engine.Schedule) error { s.AtStart = true; return nil })
}

// Overlap sets whether a tick pushes a job while the job of an earlier tick waits or
// runs. With false, such a tick is skipped, and a failed run is retried no later than the
// next tick, unless the job has its own [Backoff]. The default is true for cron
// expressions, where each tick stands for a time, such as the day of a report. It is false
// for intervals, those of [Every] and of "@every" in [Schedule], whose ticks are all alike.
// But with a CatchUp above 1 or a unique key of the job, it is true for intervals too.
//
// Overlap(false) gives the job a unique key and excludes [UniqueBy].
func Overlap(allowed bool) ScheduleOption {
	return scheduleOption(func(s *engine.Schedule) error {
		s.Overlap = &allowed
		return nil
	})
}

// alone reports whether the jobs of a schedule do not overlap. keyed is set if they have
// their own unique key.
func alone(s *engine.Schedule, keyed bool) (bool, error) {
	switch {
	case s.Overlap == nil:
		return s.Every > 0 && s.CatchUp <= 1 && !keyed, nil
	case !*s.Overlap && keyed:
		return false, errors.New("Overlap(false) and the job's own unique key exclude each other: leave one of them out")
	}
	return !*s.Overlap, nil
}

// aloneKey returns the unique key of the jobs of a schedule that do not overlap.
func aloneKey(s *engine.Schedule) backend.Unique {
	return backend.Unique{Key: "schedule " + s.Name}
}

// Cron returns a job that runs at the times of a cron expression. Its handler gets the
// tick. Each tick pushes one job, however many processes you run; [CatchUp] decides which
// ticks run late after downtime. The job belongs in a package-level variable. The
// schedule has the job's name.
//
// The expression has five fields: minute, hour, day of the month, month and day of the
// week. An optional sixth field, in front of these, is for seconds. @hourly, @daily,
// @weekly, @monthly and @yearly are abbreviations. Months and days of the week have
// names, short or full; Sunday is 0 or 7. A day of the month may be L, the last day, 15W,
// the workday nearest to the 15th, or LW, the last workday. A day of the week may be FRIL
// or 5L, the last Friday of the month, or FRI#2 or 5#2, the second. A ? in a field of
// days is a star. If neither field of days begins with a star, a day that matches one of
// them matches.
//
// In a DST gap the job runs when the gap ends, and in an overlap it runs once. If the
// hour begins with a star, skipped hours do not run and repeated hours run twice.
//
// The store's clock decides. No tick runs again if the clock is set back by less than
// three hours. If the hour field begins with a star, the limit is three hours or the time
// between two ticks, whichever is shorter. If the clock is set back further, the schedule
// may continue from the new time and repeat ticks. If it is set forward while workers
// run, the ticks in between do not run, except the latest n of CatchUp(n).
//
// After a new definition of the schedule, with other options or another expression, ticks
// that are due by the old one still run, as [CatchUp] says.
//
// Cron panics, as [Define] does, if the expression is invalid or no date matches it.
func Cron(name, expression string, fn func(ctx context.Context, tick time.Time) error, opts ...ScheduleOption) *Job[time.Time] {
	where := caller()
	s := &engine.Schedule{Name: name, Where: where, CatchUp: 1}
	parse(s, expression)
	return scheduled(s, fn, opts)
}

// Every is [Cron] for an interval, from a millisecond to 366 days. The first tick comes
// one interval after a worker first stores the schedule. A tick is skipped while the job
// of an earlier tick waits or runs, see [Overlap].
//
// The interval is elapsed time, whatever a wall clock shows. If the store's clock is set
// back, the interval stays the same. But if no worker is alive at that time, the next tick
// comes one interval after a worker starts. If the clock is set
// forward, or the machine sleeps, one tick may come early.
func Every(name string, interval time.Duration, fn func(ctx context.Context, tick time.Time) error, opts ...ScheduleOption) *Job[time.Time] {
	where := caller()
	s := &engine.Schedule{Name: name, Where: where, CatchUp: 1}
	var err error
	if s.Timing, err = engine.EveryTiming(interval); err != nil {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", where, name, err))
	}
	return scheduled(s, fn, opts)
}

// Schedule pushes a task at the times of an expression, which is one that [Cron] accepts,
// or an interval as in "@every 5m". Unlike Cron and [Every], it can push a declared job and
// a job with a payload, but the handler does not get the tick. The task's In, if it has one,
// counts from the push. See [Queue.Schedule] for an expression from a configuration.
func Schedule(name, expression string, task Task, opts ...ScheduleOption) {
	s, err := scheduleOf(name, expression, caller(), task, opts)
	if err != nil {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", caller(), name, err))
	}
	engine.AddSchedule(s)
}

// Schedule is the function [Schedule] for this queue only. It returns an error where the
// function panics, so name, expression and options may come from a configuration. Call it
// before the queue's workers start.
func (q *Queue) Schedule(name, expression string, task Task, opts ...ScheduleOption) error {
	s, err := scheduleOf(name, expression, caller(), task, opts)
	if err == nil {
		_, err = s.Location()
	}
	if err != nil {
		return fmt.Errorf("plainjobs: schedule %q: %w", name, err)
	}
	if err := q.engine().AddSchedule(s); err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	return nil
}

func scheduleOf(name, expression, where string, task Task, opts []ScheduleOption) (*engine.Schedule, error) {
	timing, err := engine.CronTiming(expression)
	if err != nil {
		return nil, err
	}
	s := &engine.Schedule{Name: name, Where: where, Timing: timing, CatchUp: 1, Job: task.def}
	job, err := task.stored(anyQueue, nil)
	if err != nil {
		return nil, err
	}
	if err := check.NewJobs([]backend.NewJob{job}); err != nil {
		return nil, err
	}
	if !task.at.IsZero() || !task.extra().before.IsZero() {
		return nil, errors.New("At and Before do not apply to a task that is pushed repeatedly: use In")
	}
	for _, opt := range opts {
		if err := opt.schedule(s, nil); err != nil {
			return nil, err
		}
	}
	lone, err := alone(s, task.job.Unique.Key != "")
	if err != nil {
		return nil, err
	}
	if lone {
		task.job.Unique = aloneKey(s)
	}
	s.Task = func(time.Time) (backend.NewJob, error) { return task.stored(anyQueue, nil) }
	s.TaskOn = func(q *engine.Queue) func(time.Time) (backend.NewJob, error) {
		return func(time.Time) (backend.NewJob, error) { return task.on(q).stored(anyQueue, nil) }
	}
	return s, nil
}

// anyQueue stands for the queue where a schedule is defined.
var anyQueue = &engine.Queue{MaxPayload: DefaultMaxPayload}

func parse(s *engine.Schedule, expression string) {
	t, err := engine.CronTiming(expression)
	if err != nil {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", s.Where, s.Name, err))
	}
	s.Timing = t
}

func scheduled(s *engine.Schedule, fn func(context.Context, time.Time) error, opts []ScheduleOption) *Job[time.Time] {
	if fn == nil {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q is defined with a nil handler; use Declare and Schedule to bind one later", s.Where, s.Name))
	}
	d := newDefinition[time.Time](s.Name, s.Where)
	for _, opt := range opts {
		if err := opt.schedule(s, d); err != nil {
			panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", s.Where, s.Name, err))
		}
	}
	lone, err := alone(s, d.Unique != nil)
	if err != nil {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", s.Where, s.Name, err))
	}
	if lone && d.Backoff == nil {
		_ = d.Apply(func(d *engine.Definition) error { d.Backoff = s.Backoff; return nil })
	}
	d.Run = decoding(fn)(d)
	engine.Register(d)
	job := &Job[time.Time]{def: d}
	s.Job = d
	task := func(tick time.Time) Task {
		t := job.With(tick.UTC())
		if lone {
			t.job.Unique = aloneKey(s)
		}
		return t
	}
	s.Task = func(tick time.Time) (backend.NewJob, error) { return task(tick).stored(anyQueue, nil) }
	s.TaskOn = func(q *engine.Queue) func(time.Time) (backend.NewJob, error) {
		return func(tick time.Time) (backend.NewJob, error) { return task(tick).on(q).stored(anyQueue, nil) }
	}
	engine.AddSchedule(s)
	return job
}

// A ScheduleInfo describes a schedule.
type ScheduleInfo struct {
	Name string
	// Expression, Zone and Job are this program's, or those of a stored schedule. They are
	// empty for a schedule that only other programs define.
	Expression, Zone, Job string
	// Next is the next tick, and Last the latest tick that pushed a job. The zero time means
	// that there is none.
	Next, Last time.Time
	Paused     bool
	// RemovedAt is when a live worker found that no worker has the schedule any more, or the
	// zero time.
	RemovedAt time.Time
	// Differs is set if the stored definition, that of the most recently started worker,
	// is not this program's.
	Differs bool
	// Stored is set if [Queue.SetSchedule] stored the schedule. Problem is why its ticks do not
	// run, for example because no worker knows its zone; workers try again each minute. Runs are
	// the IDs of the last five jobs that its ticks pushed, latest first.
	Stored  bool
	Problem string
	Runs    []int64
}

// Schedules returns the schedules of programs that workers have stored, by name. For those
// of [Queue.SetSchedule] see [Queue.ListSchedules].
func (q *Queue) Schedules(ctx context.Context) ([]ScheduleInfo, error) {
	b, err := capability[backend.Scheduler](q, "schedules")
	if err != nil {
		return nil, err
	}
	stored, err := b.Schedules(ctx)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: %w", err)
	}
	var infos []ScheduleInfo
	for _, s := range stored.Schedules {
		i := ScheduleInfo{Name: s.Name, Next: s.Next, Last: s.Last, Paused: s.Paused, RemovedAt: s.RemovedAt}
		if d := q.engine().Schedule(s.Name); d != nil {
			i.Expression, i.Zone, i.Job = d.Spec, d.Zone, d.Job.Name
			i.Differs = d.Definition() != s.Definition
		}
		infos = append(infos, i)
	}
	return infos, nil
}

// PauseSchedule stops a schedule from pushing in all processes, or lets it continue.
// During the pause, workers that have the schedule skip its ticks, and these never run.
// If no such worker runs during the pause, its ticks are late, see [CatchUp]. Each worker
// has the schedules of [Queue.SetSchedule].
func (q *Queue) PauseSchedule(ctx context.Context, name string, paused bool) error {
	b, err := capability[backend.Scheduler](q, "pause schedule")
	if err != nil {
		return err
	}
	err = b.PauseSchedule(ctx, name, paused)
	if errors.Is(err, ErrNotFound) {
		return q.pauseStored(ctx, name, paused)
	}
	if err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	return nil
}

// RunSchedule pushes the job of a schedule of this program, or of [Queue.SetSchedule], now,
// independently of its ticks, and returns the job's ID. If the jobs of the schedule do not overlap, or have a
// unique key, and one waits or runs, RunSchedule pushes nothing and returns the ID of
// that job, with [ErrDuplicate] if the task has [Reject].
func (q *Queue) RunSchedule(ctx context.Context, name string) (int64, error) {
	job, err := q.jobNow(ctx, name)
	if err == nil && q.engine().Metadata != nil {
		var common []byte
		common, err = encodeMetadata(q.engine().Metadata(ctx))
		if err == nil {
			job.Metadata, err = addMetadata(common, decodeMetadata(job.Metadata))
		}
	}
	if err != nil {
		return 0, fmt.Errorf("plainjobs: run schedule %s: %w", name, err)
	}
	return one(func() ([]int64, error) {
		pushed, err := pusher{queue: q}.push(ctx, []backend.NewJob{job})
		if err != nil {
			return nil, fmt.Errorf("plainjobs: run schedule %s: %w", name, err)
		}
		return []int64{pushed[0].ID}, nil
	}())
}

// jobNow returns the job of a schedule for a tick that is now.
func (q *Queue) jobNow(ctx context.Context, name string) (backend.NewJob, error) {
	if own := q.engine().Schedule(name); own != nil {
		return q.engine().Make(own, q.engine().Now())
	}
	s, now, err := q.storedSchedule(ctx, name)
	if err != nil {
		return backend.NewJob{}, err
	}
	if s == nil {
		return backend.NewJob{}, fmt.Errorf("%w: this program defines no such schedule, and none is stored", ErrNotFound)
	}
	return engine.JobOfTick(s.Job, name, now), nil
}

// NextTicks returns the first n ticks of a schedule after a time. The program must define
// the schedule by [Cron], [Every] or [Schedule], not by [Queue.Schedule]. The first tick of
// an interval comes one interval after the time.
func NextTicks(name string, after time.Time, n int) ([]time.Time, error) {
	s := engine.LookupSchedule(name)
	if s == nil {
		return nil, fmt.Errorf("plainjobs: next ticks: %w: this program defines no schedule %q", ErrNotFound, name)
	}
	zone, err := s.Location()
	if err != nil {
		return nil, fmt.Errorf("plainjobs: next ticks: %w", err)
	}
	var ticks []time.Time
	for t, ok := s.Next(after, zone); ok && len(ticks) < n; t, ok = s.Next(t, zone) {
		ticks = append(ticks, t.In(zone))
	}
	return ticks, nil
}
