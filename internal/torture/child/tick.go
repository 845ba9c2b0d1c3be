package child

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

// Schedules is the number of schedules.
const Schedules = 100

// Interval is the time between the ticks of the schedule with a number.
func Interval(number int) time.Duration {
	return 200*time.Millisecond + time.Duration(number)*18*time.Millisecond
}

// ScheduleName is the name of the schedule with a number.
func ScheduleName(number int) string { return fmt.Sprintf("torture/tick-%02d", number) }

// ticking are the jobs of the schedules. Workers bind their handlers, see
// bindTicking.
var ticking = func() (jobs []*plainjobs.Job[time.Time]) {
	for i := range Schedules {
		jobs = append(jobs, plainjobs.Every(ScheduleName(i), Interval(i),
			func(context.Context, time.Time) error { return errors.New("this job has no handler here") }, plainjobs.CatchUp(1000)))
	}
	return jobs
}()

// tick runs a worker with schedules, and notes their runs.
func (c *child) tick(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go c.obey(stop)
	q, j, err := c.queue()
	if err != nil {
		return err
	}
	opts := &worker.Options{
		Jobs: bindTicking(q, j), Concurrency: c.Concurrency, Lease: c.Lease, Grace: c.Grace, Logger: slog.New(slog.DiscardHandler),
	}
	c.say(Reply{Ready: true})
	err = worker.New(q, opts).Run(ctx)
	return errors.Join(err, q.Close())
}

// bindTicking returns the jobs of the schedules, with handlers that note their
// runs.
func bindTicking(q *plainjobs.Queue, j *journal) (jobs []plainjobs.AnyJob) {
	for i, job := range ticking {
		jobs = append(jobs, job)
		plainjobs.Handle(q, job, func(ctx context.Context, tick time.Time) error {
			info, _ := plainjobs.FromContext(ctx)
			j.one(NoteTicked, fmt.Sprintf("%d %d %d", info.ID, i, tick.UnixMicro()))
			return nil
		})
	}
	return jobs
}

// A Schedule is a stored schedule. Times are in microseconds.
type Schedule struct {
	Name       string
	Next, Last int64
}

// schedules returns the stored schedules. With stop it then defines them
// otherwise, as if a program with other definitions had started, so that the
// workers take no more ticks. A tick in between is not in the result.
func schedules(ctx context.Context, store backend.Scheduler, stop bool) (all []Schedule, err error) {
	stored, err := store.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range stored.Schedules {
		n := Schedule{Name: s.Name, Next: s.Next.UnixMicro()}
		if !s.Last.IsZero() {
			n.Last = s.Last.UnixMicro()
		}
		all = append(all, n)
		stored.Schedules[len(all)-1].Definition = "stopped"
	}
	if stop {
		err = store.Define(ctx, stored.Schedules)
	}
	return all, err
}
