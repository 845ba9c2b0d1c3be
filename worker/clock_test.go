package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// moves are by how much a store's clock is moved.
var moves = []time.Duration{
	time.Second, -time.Second, time.Minute, -time.Minute, 30 * time.Minute, -30 * time.Minute,
	time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour,
}

var (
	everySecondJob  = plainjobs.Every("clock/every-second", time.Second, nothing)
	everyMinuteJob  = plainjobs.Every("clock/every-minute", time.Minute, nothing)
	everyHourJob    = plainjobs.Every("clock/every-hour", time.Hour, nothing)
	overlappingJob  = plainjobs.Every("clock/overlapping", 5*time.Second, nothing, plainjobs.Overlap(true))
	eachMinuteJob   = plainjobs.Cron("clock/each-minute", "* * * * *", nothing)
	eachSecondJob   = plainjobs.Cron("clock/each-second", "*/10 * * * * *", nothing)
	eachHourJob     = plainjobs.Cron("clock/each-hour", "@hourly", nothing)
	sixADayJob      = plainjobs.Cron("clock/six-a-day", "0 2,6,10,14,18,22 * * *", nothing)
	twiceSixADayJob = plainjobs.Cron("clock/twice-six-a-day", "0,5 2,6,10,14,18,22 * * *", nothing)
)

// A turned is a run while a store's clock is moved: when it was, by a clock that
// is not moved, and for which tick.
type turned struct{ at, tick time.Time }

// turn runs a job's schedule for before, moves the store's clock, with a restart
// of the worker if restarts is set, and goes on for after. It returns the runs
// before and after the move.
func turn(t *testing.T, job *plainjobs.Job[time.Time], before, move, after time.Duration, restarts bool) (old, since []turned, log string) {
	var offset atomic.Int64
	q := plainjobs.New(memory.New(&memory.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }}), nil)
	runs := make(chan turned, 100_000)
	plainjobs.Handle(q, job, func(_ context.Context, tick time.Time) error {
		runs <- turned{time.Now(), tick}
		return nil
	})
	var said lockedBuffer
	opts := worker.Options{Jobs: []plainjobs.AnyJob{job}, Lease: time.Hour, Logger: slog.New(slog.NewTextHandler(&said, nil))}
	stops := []func() error{start(t, q, opts), start(t, q, opts)}
	collect := func() (all []turned) {
		synctest.Wait()
		for len(runs) > 0 {
			all = append(all, <-runs)
		}
		return all
	}
	time.Sleep(before)
	old = collect()
	if restarts {
		for _, stop := range stops {
			mustStop(t, stop)
		}
	}
	offset.Store(int64(move))
	if restarts {
		stops = []func() error{start(t, q, opts)}
	}
	time.Sleep(after)
	since = collect()
	for _, stop := range stops {
		mustStop(t, stop)
	}
	return old, since, said.String()
}

// Every keeps its interval when the store's clock is set. If it is set forward, one tick
// may be early.
func TestEveryWhateverTheClockShows(t *testing.T) {
	for _, job := range []*plainjobs.Job[time.Time]{everySecondJob, everyMinuteJob, everyHourJob} {
		ticks, err := plainjobs.NextTicks(job.Name(), time.Time{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		interval := ticks[0].Sub(time.Time{})
		for _, move := range moves {
			t.Run(fmt.Sprintf("%s/%v", job.Name(), move), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					old, since, log := turn(t, job, 3*interval+interval/4, move, 5*interval, false)
					if len(old) != 3 {
						t.Fatalf("before: %d runs", len(old))
					}
					early := 0
					last := old[2].at
					for _, r := range since {
						gap := r.at.Sub(last)
						last = r.at
						if gap < interval-interval/100 {
							early++
						}
						if late := gap - interval; late > interval/100 {
							t.Errorf("a run is %v after the one before", gap)
						}
					}
					switch {
					case move < 0 && (early > 0 || len(since) != 5):
						t.Errorf("%d runs in five intervals, %d of them early: %v", len(since), early, since)
					case move > 0 && (early > 2 || len(since) < 5 || len(since) > 6):
						t.Errorf("%d runs in five intervals, %d of them early: %v", len(since), early, since)
					}
					if -move > interval/500 && !strings.Contains(log, "the store's clock was set back") {
						t.Errorf("the log does not say that the clock was set back: %s", log)
					}
				})
			})
		}
	}
}

// If no worker is alive when the clock is set, the next tick comes an interval after one
// starts.
func TestEveryAfterARestart(t *testing.T) {
	for _, move := range moves {
		t.Run(move.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, since, _ := turn(t, everyMinuteJob, 3*time.Minute+15*time.Second, move, 5*time.Minute+time.Second, true)
				if len(since) < 4 || len(since) > 6 {
					t.Errorf("%d runs in five minutes: %v", len(since), since)
				}
			})
		})
	}
}

// A clock that is set forward does not run many ticks at once.
func TestClockSetForwardIsNoBurst(t *testing.T) {
	for _, job := range []*plainjobs.Job[time.Time]{overlappingJob, eachSecondJob, eachMinuteJob, eachHourJob} {
		for _, move := range moves {
			if move < time.Hour {
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", job.Name(), move), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, since, _ := turn(t, job, time.Hour+time.Minute+time.Second, move, time.Hour+time.Minute, false)
					most, n := 0, 0
					for i, r := range since {
						if n++; i == 0 || r.at.Sub(since[i-1].at) > time.Second/2 {
							n = 1
						}
						most = max(most, n)
					}
					if len(since) == 0 || most > 2 {
						t.Errorf("%d runs, %d of them at once", len(since), most)
					}
				})
			})
		}
	}
}

// A cron expression follows the store's clock. When that is set back a little no
// tick is repeated, and when it is set back by more, none is waited for longer than
// until the clock shows the second that fits.
func TestCronAfterClockWasSetBack(t *testing.T) {
	for _, c := range []struct {
		job       *plainjobs.Job[time.Time]
		longest   time.Duration // that its ticks are apart
		repeating time.Duration // how far back the clock goes that repeats ticks
	}{
		{eachSecondJob, 10 * time.Second, 20 * time.Second}, {eachMinuteJob, time.Minute, 2 * time.Minute}, {eachHourJob, time.Hour, 2 * time.Hour},
		{sixADayJob, 4 * time.Hour, 3 * time.Hour}, {twiceSixADayJob, 4 * time.Hour, 3 * time.Hour},
	} {
		for _, move := range moves {
			for _, restarts := range []bool{false, true} {
				if move > 0 || restarts && c.longest > time.Minute && move > -time.Hour {
					continue
				}
				t.Run(fmt.Sprintf("%s/%v/%v", c.job.Name(), move, restarts), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						// 0:06:04 or 2:06:04, when the tick of 2:05 was.
						before := 6*time.Minute + 4*time.Second
						if c.longest >= time.Hour {
							before += 2 * time.Hour
						}
						old, since, log := turn(t, c.job, before, move, c.longest+min(-move, c.repeating)+c.longest/2+30*time.Second, restarts)
						seen := map[time.Time]bool{}
						last := old[len(old)-1]
						for _, r := range old {
							seen[r.tick] = true
						}
						repeated := 0
						at := last.at
						for _, r := range since {
							if seen[r.tick] {
								repeated++
							}
							seen[r.tick] = true
							if gap := r.at.Sub(at); gap > 2*c.longest+max(0, min(-move, c.repeating)) {
								t.Errorf("a run is %v after the one before", gap)
							}
							at = r.at
							shown := r.at.Add(move)
							if late := shown.Sub(r.tick); late < 0 || late > time.Second {
								t.Errorf("the tick of %v ran when the clock showed %v", r.tick, shown)
							}
						}
						switch {
						case len(since) == 0:
							t.Errorf("no run")
						case repeated > 0 && -move < c.repeating/2:
							t.Errorf("%d ticks were repeated: %v", repeated, since)
						case repeated > 0 && !strings.Contains(log, "the store's clock was set back"):
							t.Errorf("the log does not say that the clock was set back: %s", log)
						}
					})
				})
			}
		}
	}
}
