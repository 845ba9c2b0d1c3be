package worker_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

func nothing(context.Context, time.Time) error { return nil }

var (
	// The names of those that fail come before those of the others.
	panicsJob  = plainjobs.Every("broken/panics", time.Hour, nothing, plainjobs.UniqueBy(func(time.Time) string { panic("no key") }))
	laterJob   = plainjobs.Every("broken/panics-later", time.Hour, nothing, plainjobs.UniqueBy(keyOnceDefined))
	longKeyJob = plainjobs.Every("broken/key", time.Hour, nothing, plainjobs.UniqueBy(func(time.Time) string { return strings.Repeat("k", 300) }))

	panicsOftenJob = plainjobs.Every("broken/often", 50*time.Millisecond, nothing, plainjobs.UniqueBy(func(time.Time) string { panic("no key") }))
	oftenJob       = plainjobs.Every("schedule/often", 200*time.Millisecond, nothing, plainjobs.CatchUp(0), plainjobs.Overlap(true))

	fullJob  = plainjobs.Every("schedule/full", time.Hour, nothing, plainjobs.CatchUp(10), plainjobs.MaxPending(5))
	keysJob  = plainjobs.Every("schedule/keys", time.Hour, nothing, plainjobs.CatchUp(4), plainjobs.UniqueBy(parity, plainjobs.Reject()))
	localJob = plainjobs.Cron("schedule/local", "@hourly", nothing, plainjobs.Zone("Local"))
)

func keyOnceDefined(tick time.Time) string {
	if !tick.IsZero() {
		panic("no key for this tick")
	}
	return "k"
}

func parity(tick time.Time) string {
	if tick.Hour()%2 == 0 {
		return "even"
	}
	return "odd"
}

// A worker that was declared dead, and whose schedules were removed, has them again when
// it is back.
func TestSchedulesOfOneDeclaredDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q, other := plainjobs.New(b, nil), plainjobs.New(b.Backend, nil)
		begin := time.Now().UTC()
		hourly := ticking(q, hourlyJob)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob}})
		stopOther := start(t, other, worker.Options{Jobs: bind(other, jobA, func(context.Context, string) error { return nil })})
		time.Sleep(90 * time.Minute)
		b.down.Store(true)
		time.Sleep(2 * time.Minute)
		if infos, err := other.Schedules(t.Context()); err != nil || len(infos) != 1 || infos[0].RemovedAt.IsZero() {
			t.Fatalf("Schedules = %+v, %v, want it removed", infos, err)
		}
		b.down.Store(false)
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		var want []time.Time
		for h := range 5 {
			want = append(want, begin.Add(time.Duration(h+1)*time.Hour))
		}
		if !slices.Equal(*hourly, want) {
			t.Errorf("ticks are %v, want %v", *hourly, want)
		}
		if infos, err := other.Schedules(t.Context()); err != nil || len(infos) != 1 || !infos[0].RemovedAt.IsZero() {
			t.Errorf("Schedules = %+v, %v, want it there", infos, err)
		}
		mustStop(t, stop)
		mustStop(t, stopOther)
	})
}

// A schedule with another program's definition is left to that program while one of its
// workers ticks it.
func TestScheduleDefinedOtherwise(t *testing.T) {
	for _, c := range []struct {
		name  string
		alive bool
		want  []int
	}{{"alive", true, nil}, {"gone", false, []int{2, 3, 4, 5}}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(nil)
				q := plainjobs.New(b, nil)
				begin := time.Now().UTC()
				hourly := ticking(q, hourlyJob)
				var log lockedBuffer
				stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				time.Sleep(time.Minute)
				due := begin.Add(time.Hour)
				if err := b.Define(t.Context(), []backend.Schedule{{Name: hourlyJob.Name(), Definition: "other", Next: due}}); err != nil {
					t.Fatal(err)
				}
				for h := 1; h <= 5; h++ {
					time.Sleep(time.Until(begin.Add(time.Duration(h)*time.Hour + time.Second)))
					if c.alive || h == 1 {
						tick := backend.Tick{Name: hourlyJob.Name(), Definition: "other", Due: due, Next: due.Add(time.Hour)}
						if taken, err := b.Tick(t.Context(), tick); err != nil || !taken {
							t.Fatalf("Tick = %v, %v", taken, err)
						}
						due = tick.Next
					}
				}
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				mustStop(t, stop)
				var want []time.Time
				for _, h := range c.want {
					want = append(want, begin.Add(time.Duration(h)*time.Hour))
				}
				if !slices.Equal(*hourly, want) {
					t.Errorf("ticks are %v, want %v", *hourly, want)
				}
				if said := strings.Contains(log.String(), "no live worker has the stored definition"); said == c.alive {
					t.Errorf("the log says %s", log.String())
				}
			})
		})
	}
}

// A clock that was far ahead for a while delays no schedule when it is set back.
func TestScheduleAfterClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		q := plainjobs.New(memory.New(&memory.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}), nil)
		begin := time.Now().UTC()
		hourly, every := ticking(q, hourlyJob), ticking(q, everyJob)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob, everyJob}})
		time.Sleep(90 * time.Minute)
		ahead.Store(int64(365 * 24 * time.Hour))
		time.Sleep(10 * time.Minute) // 1:40
		ahead.Store(0)
		time.Sleep(4 * time.Hour) // 5:40
		synctest.Wait()
		mustStop(t, stop)
		of := func(ticks []time.Time) (hours []int) {
			for _, tick := range ticks {
				if tick.Before(begin.Add(24 * time.Hour)) {
					hours = append(hours, int(tick.Sub(begin)/time.Hour))
				}
			}
			return hours
		}
		if got, want := of(*hourly), []int{1, 2, 3, 4, 5}; !slices.Equal(got, want) || len(*hourly) != len(want)+1 {
			t.Errorf("the hours of %s are %v of %v, want %v and one of next year", hourlyJob.Name(), got, *hourly, want)
		}
		if n := len(of(*every)); n < 3 {
			t.Errorf("%s had %d ticks: %v", everyJob.Name(), n, *every)
		}
	})
}

// A schedule that cannot push is logged and delays no other.
func TestBrokenScheduleIsAlone(t *testing.T) {
	for _, job := range []*plainjobs.Job[time.Time]{panicsJob, laterJob, longKeyJob} {
		t.Run(job.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := plainjobs.New(memory.New(nil), nil)
				hourly, broken := ticking(q, hourlyJob), ticking(q, job)
				var log lockedBuffer
				stop := start(t, q, worker.Options{
					Jobs: []plainjobs.AnyJob{hourlyJob, job}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				})
				time.Sleep(5*time.Hour + time.Minute)
				synctest.Wait()
				mustStop(t, stop)
				if len(*hourly) != 5 || len(*broken) != 0 {
					t.Errorf("ticks are %v and, of the one that cannot push, %v", *hourly, *broken)
				}
				if text := log.String(); !strings.Contains(text, "schedule "+job.Name()) {
					t.Errorf("the log does not name %s: %s", job.Name(), text)
				}
			})
		})
	}
}

// Of several missed ticks, those run that the options of the job admit.
func TestSomeMissedTicksAreRefused(t *testing.T) {
	for _, c := range []struct {
		job  *plainjobs.Job[time.Time]
		want []int
	}{
		{fullJob, []int{1, 2, 3, 4, 5}}, // with which it is full
		{keysJob, []int{7, 8}},          // whose keys 9 and 10 have
	} {
		t.Run(c.job.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := plainjobs.New(memory.New(nil), nil)
				begin := time.Now().UTC()
				ticks := ticking(q, c.job)
				opts := worker.Options{Jobs: []plainjobs.AnyJob{c.job}}
				stop := start(t, q, opts)
				time.Sleep(time.Minute)
				mustStop(t, stop)
				time.Sleep(10*time.Hour + 10*time.Minute)
				stop = start(t, q, opts)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				mustStop(t, stop)
				var want []time.Time
				for _, h := range c.want {
					want = append(want, begin.Add(time.Duration(h)*time.Hour))
				}
				slices.SortFunc(*ticks, time.Time.Compare)
				if !slices.Equal(*ticks, want) {
					t.Errorf("made up with %v, want %v", *ticks, want)
				}
			})
		})
	}
}

// Local differs between machines, so it is no zone for a schedule.
func TestLocalZone(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a worker that starts ends at once
	err := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{localJob}}).Run(ctx)
	if err == nil || !strings.Contains(err.Error(), "the zone Local differs between machines") || !strings.Contains(err.Error(), "schedule_test.go:") {
		t.Errorf("Run with the zone Local = %v", err)
	}
}

// The backoff of a failing schedule does not apply to others.
func TestBrokenScheduleHoldsNoTickUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		often, broken := ticking(q, oftenJob), ticking(q, panicsOftenJob)
		begin := time.Now()
		late := 0
		plainjobs.Handle(q, oftenJob, func(_ context.Context, tick time.Time) error {
			*often = append(*often, tick)
			if time.Since(tick) > 50*time.Millisecond {
				late++
			}
			return nil
		})
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{oftenJob, panicsOftenJob}})
		time.Sleep(time.Minute + 100*time.Millisecond)
		synctest.Wait()
		mustStop(t, stop)
		if want := int(time.Since(begin) / (200 * time.Millisecond)); len(*often) < want || late > 0 || len(*broken) != 0 {
			t.Errorf("%d ticks of %d, %d of them late, and %d of the one that cannot push", len(*often), want, late, len(*broken))
		}
	})
}

// No tick is lost while none is a minute late.
func TestTicksOnTimeAreNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		often := ticking(q, oftenJob)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{oftenJob}})
		time.Sleep(time.Second)
		b.down.Store(true)
		time.Sleep(20 * time.Second)
		b.down.Store(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		mustStop(t, stop)
		slices.SortFunc(*often, time.Time.Compare)
		for i := range *often {
			if i > 0 && (*often)[i].Sub((*often)[i-1]) != 200*time.Millisecond {
				t.Fatalf("after %v came %v", (*often)[i-1], (*often)[i])
			}
		}
		if len(*often) < 250 {
			t.Errorf("%d ticks in 51 s", len(*often))
		}
	})
}
