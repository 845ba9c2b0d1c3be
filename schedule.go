package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A ScheduleOption is an option of a schedule.
type ScheduleOption interface {
	schedule(*engine.Schedule, *engine.Definition) error
}

type scheduleOption func(*engine.Schedule) error

func (o scheduleOption) schedule(s *engine.Schedule, _ *engine.Definition) error { return o(s) }

// Zone is the time zone of a schedule's wall clock, as "Europe/Berlin"; the
// default is UTC. A zone that is not known is an error when a worker starts.
func Zone(name string) ScheduleOption {
	return scheduleOption(func(s *engine.Schedule) error {
		if s.Zone = name; s.Every > 0 {
			return fmt.Errorf("Zone: what happens every %v follows no wall clock", s.Every)
		}
		return nil
	})
}

// CatchUp is how many ticks are made up for that were missed while no worker of
// the job ran, or while the job's name or the whole queue was paused, at most
// 1000: the latest n, none if n is 0. The default is one. A tick counts as missed
// when it is a minute late. Those that are not are taken in any case, at most
// 1000 at once, and each makes up for a missed one. A schedule that no worker has
// had for 30 days, while others ran, is forgotten with the ticks that it missed.
func CatchUp(n int) ScheduleOption {
	return scheduleOption(func(s *engine.Schedule) error {
		if s.CatchUp = n; n < 0 || n > 1000 {
			return fmt.Errorf("CatchUp(%d) is not within 0 and 1000", n)
		}
		return nil
	})
}

// Overlap says whether a tick pushes a job while the one before it waits or
// runs. If not, that tick passes, and a run that fails is tried again by the next
// tick at the latest, unless the job has a [Backoff] of its own. The default is
// true for [Cron] and [Schedule]: each of their ticks stands for a time, as the
// day that a report is for. It is false for [Every], whose ticks are all alike: a
// second run that waits behind a slow one does nothing that the first does not.
// An Every with CatchUp of more than one, or with a unique key of its own, pushes
// with each tick, as it asks for.
//
// Overlap(false) gives the job a unique key, so it cannot be had with [UniqueBy].
func Overlap(allowed bool) ScheduleOption {
	return scheduleOption(func(s *engine.Schedule) error {
		s.Overlap = &allowed
		return nil
	})
}

// alone reports whether a schedule's jobs do not overlap, which have a unique key
// of their own if keyed is set.
func alone(s *engine.Schedule, keyed bool) (bool, error) {
	switch {
	case s.Overlap == nil:
		return s.Every > 0 && s.CatchUp <= 1 && !keyed, nil
	case !*s.Overlap && keyed:
		return false, errors.New("Overlap(false) and a unique key of the job's own contradict each other: leave one of them out")
	}
	return !*s.Overlap, nil
}

// aloneKey returns the unique key of the jobs of a schedule that do not overlap.
func aloneKey(s *engine.Schedule) backend.Unique {
	return backend.Unique{Key: "schedule " + s.Name}
}

// Cron returns a job that runs at the times of a cron expression, given the
// tick that it is for: once for each tick, however many processes there are.
// It belongs in a package-level variable. The schedule has the job's name.
//
// The expression has five fields, minute, hour, day of the month, month and day
// of the week, or six with seconds before them; @hourly, @daily, @weekly,
// @monthly and @yearly stand for some. Months and days of the week have names,
// short or full; Sunday is 0 or 7. A day of the month may also be L, the last
// one, 15W, the workday nearest to the 15th, and LW, the last workday; a day of
// the week FRIL or 5L, the month's last Friday, and FRI#2 or 5#2, its second. A ?
// in a field of days is a star. If neither field of days begins with a star, a
// day that fits one of them fits.
//
// A time that the wall clock of the zone skips runs when it has, one that it
// shows twice runs once; but where the hour begins with a star, which means every
// so often, an hour that is skipped is, and one that is repeated runs twice.
//
// The store's clock decides. If it is set back, ticks that were taken are not
// taken again; but if it is set back by more than one tick of a schedule whose
// hour begins with a star, or by three hours or more, the schedule goes on from
// the time that it shows then. If it is set forward, what it passes by is missed,
// see [CatchUp].
//
// A new definition of the schedule, with other options or another expression,
// loses no tick that is due by the old one.
//
// Cron panics, as [Define] does, if the expression is not valid or no date
// fits it.
func Cron(name, expression string, fn func(ctx context.Context, tick time.Time) error, opts ...ScheduleOption) *Job[time.Time] {
	where := caller()
	s := &engine.Schedule{Name: name, Where: where, CatchUp: 1}
	parse(s, expression)
	return scheduled(s, fn, opts)
}

// Every is [Cron] for what happens again and again after a time, from a
// millisecond to a year. The first tick is that long after a worker first knew of
// it. A tick that comes while the last run waits or goes on passes, see
// [Overlap].
//
// The time is what passes, whatever a wall clock shows. If the store's clock is
// set back, the ticks go on as if it had not been; only if no worker lives
// through that, the next one is an interval after one starts. If it is set
// forward, or the machine slept, one tick may come early.
func Every(name string, interval time.Duration, fn func(ctx context.Context, tick time.Time) error, opts ...ScheduleOption) *Job[time.Time] {
	where := caller()
	s := &engine.Schedule{Name: name, Where: where, CatchUp: 1}
	if interval < time.Millisecond || interval > 366*24*time.Hour {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: every %v is not within 1ms and 366 days", where, name, interval))
	}
	s.Timing = engine.EveryTiming(interval)
	return scheduled(s, fn, opts)
}

// Schedule pushes a task at the times of a cron expression, as [Cron] does. Its
// runs are not told the tick that they are for. The task's In, if it has one,
// counts from when it is pushed.
func Schedule(name, expression string, task Task, opts ...ScheduleOption) {
	s := &engine.Schedule{Name: name, Where: caller(), CatchUp: 1, Job: task.def}
	parse(s, expression)
	job, err := task.stored(anyQueue, nil)
	if err == nil {
		err = backend.CheckNewJobs([]backend.NewJob{job})
	}
	if err != nil {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", s.Where, name, err))
	}
	if !task.at.IsZero() || !task.before.IsZero() {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: a task that is pushed again and again has no At and no Before", s.Where, name))
	}
	for _, opt := range opts {
		if err := opt.schedule(s, nil); err != nil {
			panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", s.Where, name, err))
		}
	}
	lone, err := alone(s, task.job.Unique.Key != "")
	if err != nil {
		panic(fmt.Sprintf("plainjobs: %s: schedule %q: %v", s.Where, name, err))
	}
	if lone {
		task.job.Unique = aloneKey(s)
	}
	s.Task = func(time.Time) (backend.NewJob, error) { return task.stored(anyQueue, nil) }
	engine.AddSchedule(s)
}

// anyQueue is what is known of a queue where a schedule is defined.
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
		d.Backoff = s.Backoff
	}
	d.Run = decoding(fn)(d)
	engine.Register(d)
	job := &Job[time.Time]{def: d}
	s.Job = d
	s.Task = func(tick time.Time) (backend.NewJob, error) {
		t := job.With(tick.UTC())
		if lone {
			t.job.Unique = aloneKey(s)
		}
		return t.stored(anyQueue, nil)
	}
	engine.AddSchedule(s)
	return job
}

// A ScheduleInfo is what is known of a schedule.
type ScheduleInfo struct {
	Name string
	// Expression, Zone and Job are those of this program; they are empty if
	// it does not define the schedule.
	Expression, Zone, Job string
	// Next is the tick to come, Last the one taken last; zero is none.
	Next, Last time.Time
	Paused     bool
	// RemovedAt is when no live worker defined it any more, or zero.
	RemovedAt time.Time
	// Differs is set when the stored definition, that of the worker that
	// started last, is not this program's.
	Differs bool
}

// Schedules returns the schedules that workers have stored, by name.
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
		if d := engine.LookupSchedule(s.Name); d != nil {
			i.Expression, i.Zone, i.Job = d.Spec, d.Zone, d.Job.Name
			i.Differs = d.Definition() != s.Definition
		}
		infos = append(infos, i)
	}
	return infos, nil
}

// PauseSchedule stops a schedule from pushing, in all processes, or lets it go
// on. Its ticks pass meanwhile and are not made up for, as long as a worker that
// has the schedule runs.
func (q *Queue) PauseSchedule(ctx context.Context, name string, paused bool) error {
	b, err := capability[backend.Scheduler](q, "pause schedule")
	if err != nil {
		return err
	}
	if err := b.PauseSchedule(ctx, name, paused); err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	return nil
}

// RunSchedule pushes what a schedule of this program pushes, now, apart from
// its ticks, and returns the job's ID, also with [ErrDuplicate]. If the jobs of
// the schedule do not overlap and one waits or runs, that is the job.
func (q *Queue) RunSchedule(ctx context.Context, name string) (int64, error) {
	s := engine.LookupSchedule(name)
	if s == nil {
		return 0, fmt.Errorf("plainjobs: run schedule: %w: this program defines no schedule %q", ErrNotFound, name)
	}
	job, err := s.Make(q.engine().Now())
	if err == nil && q.engine().Metadata != nil {
		job.Metadata, err = encodeMetadata(q.engine().Metadata(ctx))
	}
	if err != nil {
		return 0, fmt.Errorf("plainjobs: run schedule %s: %w", name, err)
	}
	return one(func() ([]int64, error) {
		pushed, err := q.push(ctx, []backend.NewJob{job})
		if err != nil {
			return nil, fmt.Errorf("plainjobs: run schedule %s: %w", name, err)
		}
		return []int64{pushed[0].ID}, nil
	}())
}

// NextTicks returns the next n ticks after a time of a schedule that this
// program defines. For one made with [Every] they count from that time.
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
