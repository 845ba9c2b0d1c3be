package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	slowEveryJob   = plainjobs.Every("overlap/every", time.Minute, nothing)
	slowOverlapJob = plainjobs.Every("overlap/every-overlapping", time.Minute, nothing, plainjobs.Overlap(true))
	slowCronJob    = plainjobs.Cron("overlap/cron", "* * * * *", nothing)
	slowAloneJob   = plainjobs.Cron("overlap/cron-alone", "* * * * *", nothing, plainjobs.Overlap(false))
	slowTaskJob    = plainjobs.Declare[string]("overlap/task")
)

func init() {
	plainjobs.Schedule("overlap/schedule", "* * * * *", slowTaskJob.With("data"), plainjobs.Overlap(false))
}

// waiting returns how many jobs of a name wait or run.
func waiting(t *testing.T, b backend.Reader, name string) (n int64) {
	t.Helper()
	counts, err := b.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.Name == name && !c.State.Terminal() {
			n += c.Jobs
		}
	}
	return n
}

// A slow job of a schedule that does not overlap piles up no jobs: the ticks that come
// while it waits or runs are skipped.
func TestTicksBehindASlowRun(t *testing.T) {
	const slow = 10*time.Minute + 30*time.Second
	for _, c := range []struct {
		job         plainjobs.AnyJob
		least, most int64 // that are there after an hour
	}{{slowEveryJob, 1, 1}, {slowAloneJob, 1, 1}, {slowTaskJob, 1, 1}, {slowOverlapJob, 50, 60}, {slowCronJob, 50, 60}} {
		t.Run(c.job.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(nil)
				q := plainjobs.New(b, nil)
				runs := 0
				run := func(ctx context.Context) error {
					runs++
					select {
					case <-time.After(slow):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				switch job := c.job.(type) {
				case *plainjobs.Job[time.Time]:
					plainjobs.Handle(q, job, func(ctx context.Context, _ time.Time) error { return run(ctx) })
				case *plainjobs.Job[string]:
					plainjobs.Handle(q, job, func(ctx context.Context, _ string) error { return run(ctx) })
				}
				stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{c.job}, Concurrency: 1})
				time.Sleep(time.Hour + time.Second)
				synctest.Wait()
				if n := waiting(t, b, c.job.Name()); n < c.least || n > c.most {
					t.Errorf("%d jobs wait or run after an hour, want %d to %d", n, c.least, c.most)
				}
				if runs < 5 || runs > 6 {
					t.Errorf("%d runs in an hour", runs)
				}
				mustStop(t, stop)
			})
		})
	}
}

// A failed run is retried no later than the next tick, so the ticks skipped meanwhile
// are no loss.
func TestRetriesOfOneThatDoesNotOverlap(t *testing.T) {
	for _, job := range []*plainjobs.Job[time.Time]{slowEveryJob, slowAloneJob} {
		t.Run(job.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(nil)
				q := plainjobs.New(b, nil)
				var up atomic.Bool
				runs, last := 0, time.Now()
				plainjobs.Handle(q, job, func(context.Context, time.Time) error {
					runs++
					if gap := time.Since(last); gap > time.Minute+time.Second && runs > 1 {
						t.Errorf("run %d is %v after the one before", runs, gap)
					}
					if last = time.Now(); !up.Load() {
						return errors.New("down")
					}
					return nil
				})
				stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{job}})
				time.Sleep(3 * time.Hour)
				if n := waiting(t, b, job.Name()); n > 1 {
					t.Errorf("%d jobs wait", n)
				}
				up.Store(true)
				time.Sleep(time.Hour)
				synctest.Wait()
				mustStop(t, stop)
				if runs < 230 {
					t.Errorf("%d runs in four hours", runs)
				}
			})
		})
	}
}

// The ticks of a paused name's schedule are missed. CatchUp decides which of them run
// when the name is resumed.
func TestScheduleOfAPausedName(t *testing.T) {
	for _, name := range []string{hourlyJob.Name(), ""} {
		synctest.Test(t, func(t *testing.T) {
			b := memory.New(nil)
			q := plainjobs.New(b, nil)
			begin := time.Now().UTC()
			hourly := ticking(q, hourlyJob)
			stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob}})
			time.Sleep(90 * time.Minute)
			if err := b.Pause(t.Context(), name, true); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Hour)
			if n := waiting(t, b, hourlyJob.Name()); n != 0 {
				t.Errorf("%d jobs wait", n)
			}
			if err := b.Pause(t.Context(), name, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			mustStop(t, stop)
			want := []time.Time{begin.Add(time.Hour), begin.Add(101 * time.Hour), begin.Add(102 * time.Hour)}
			if len(*hourly) != len(want) || !(*hourly)[0].Equal(want[0]) || !(*hourly)[1].Equal(want[1]) || !(*hourly)[2].Equal(want[2]) {
				t.Errorf("ticks are %v, want %v", *hourly, want)
			}
		})
	}
}

// A worker with NoSchedules needs no time zones.
func TestNoSchedulesNeedsNoZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{marsJob}, NoSchedules: true})
		time.Sleep(time.Hour)
		mustStop(t, stop)
	})
}
