package worker_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	dailyJob  = plainjobs.Cron("redefine/daily", "0 6 * * *", nothing)
	tensJob   = plainjobs.Cron("redefine/tens", "0 * * * *", nothing, plainjobs.CatchUp(10))
	secondJob = plainjobs.Every("redefine/second", time.Second, nothing, plainjobs.CatchUp(10))
)

// deploy changes a schedule of the program, as its next version would, until the test
// ends.
func deploy(t *testing.T, name string, change func(*engine.Schedule, *engine.Definition)) {
	t.Helper()
	s, d := engine.LookupSchedule(name), engine.Lookup(name)
	schedule, attempts := *s, d.MaxAttempts
	change(s, d)
	t.Cleanup(func() { *s, d.MaxAttempts = schedule, attempts })
}

func timing(t *testing.T, expression string) engine.Timing {
	t.Helper()
	e, err := engine.CronTiming(expression)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A tick that falls within a deploy is taken, whatever the deploy changes.
func TestDeployLosesNoTick(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*testing.T, *engine.Schedule, *engine.Definition)
		want   []int // minutes after midnight
	}{
		{"nothing", func(*testing.T, *engine.Schedule, *engine.Definition) {}, []int{360}},
		{"an option of the job", func(_ *testing.T, _ *engine.Schedule, d *engine.Definition) { d.MaxAttempts = 3 }, []int{360}},
		{"CatchUp", func(_ *testing.T, s *engine.Schedule, _ *engine.Definition) { s.CatchUp = 5 }, []int{360}},
		{"another way to write it", func(t *testing.T, s *engine.Schedule, _ *engine.Definition) { s.Timing = timing(t, "00 6 * * *") }, []int{360}},
		{"a later time", func(t *testing.T, s *engine.Schedule, _ *engine.Definition) { s.Timing = timing(t, "30 7 * * *") }, []int{360, 450}},
		{"an earlier time", func(t *testing.T, s *engine.Schedule, _ *engine.Definition) { s.Timing = timing(t, "30 5 * * *") }, []int{360}},
		{"a zone", func(_ *testing.T, s *engine.Schedule, _ *engine.Definition) { s.Zone = "Europe/Berlin" }, []int{360}},
		{"an interval", func(_ *testing.T, s *engine.Schedule, _ *engine.Definition) {
			s.Timing, _ = engine.EveryTiming(50 * time.Minute)
		}, []int{360, 410, 460}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := plainjobs.New(memory.New(nil), nil)
				begin := time.Now().UTC()
				ticks := ticking(q, dailyJob)
				opts := worker.Options{Jobs: []plainjobs.AnyJob{dailyJob}}
				stop := start(t, q, opts)
				time.Sleep(time.Until(begin.Add(6*time.Hour - 30*time.Second)))
				mustStop(t, stop)
				deploy(t, dailyJob.Name(), func(s *engine.Schedule, d *engine.Definition) { c.change(t, s, d) })
				time.Sleep(50 * time.Second)
				stop = start(t, q, opts)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				mustStop(t, stop)
				got := make([]int, len(*ticks))
				for i, tick := range *ticks {
					got[i] = int(tick.Sub(begin).Round(time.Minute) / time.Minute)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("ticks are at the minutes %v, want %v", got, c.want)
				}
			})
		})
	}
}

// Ticks that are due by the old definition run with the CatchUp of the new one.
func TestDeployMakesUpByTheOldTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC()
		ticks := ticking(q, tensJob)
		plainjobs.Handle(q, jobA, func(context.Context, string) error { return nil })
		opts := worker.Options{Jobs: []plainjobs.AnyJob{tensJob}}
		stop := start(t, q, opts)
		time.Sleep(90 * time.Minute)
		mustStop(t, stop)
		other := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{jobA}}) // by which it is removed
		deploy(t, tensJob.Name(), func(s *engine.Schedule, _ *engine.Definition) { s.Timing = timing(t, "45 */4 * * *") })
		time.Sleep(4 * time.Hour) // 5:30
		stop = start(t, q, opts)
		time.Sleep(4 * time.Hour) // 9:30
		synctest.Wait()
		mustStop(t, stop)
		mustStop(t, other)
		want := []time.Duration{1 * time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 5 * time.Hour, 8*time.Hour + 45*time.Minute}
		var got []time.Duration
		for _, tick := range *ticks {
			got = append(got, tick.Sub(begin))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("ticks are %v after the beginning, want %v", got, want)
		}
	})
}

// With a tick each second, deploys that change an option lose as few as those
// that change nothing.
func TestManyDeploys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		ticks := ticking(q, secondJob)
		opts := worker.Options{Jobs: []plainjobs.AnyJob{secondJob}}
		for i := range 32 {
			deploy(t, secondJob.Name(), func(_ *engine.Schedule, d *engine.Definition) { d.MaxAttempts = 3 + i })
			stop := start(t, q, opts)
			time.Sleep(1200 * time.Millisecond)
			mustStop(t, stop)
			time.Sleep(300 * time.Millisecond)
		}
		stop := start(t, q, opts)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		mustStop(t, stop)
		if slices.SortFunc(*ticks, time.Time.Compare); len(*ticks) != 48 {
			t.Errorf("%d ticks of 48", len(*ticks))
		}
		for i := range *ticks {
			if i > 0 && (*ticks)[i].Sub((*ticks)[i-1]) != time.Second {
				t.Errorf("after %v came %v", (*ticks)[i-1], (*ticks)[i])
			}
		}
	})
}

// While the old version still runs, each tick is taken once, by one of the two.
func TestRollingDeploy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		var mu sync.Mutex
		var all []time.Time
		run := func() (*plainjobs.Queue, worker.Options) {
			q := plainjobs.New(b, nil)
			plainjobs.Handle(q, tensJob, func(_ context.Context, tick time.Time) error {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, tick)
				return nil
			})
			return q, worker.Options{Jobs: []plainjobs.AnyJob{tensJob}}
		}
		q, opts := run()
		begin := time.Now().UTC()
		stop := start(t, q, opts)
		synctest.Wait() // the old version has what it needs of its program
		deploy(t, tensJob.Name(), func(s *engine.Schedule, _ *engine.Definition) { s.Timing = timing(t, "0,30 * * * *") })
		time.Sleep(time.Until(begin.Add(time.Hour))) // the tick is due at this moment
		q, opts = run()
		stopNew := start(t, q, opts)
		time.Sleep(time.Minute)
		mustStop(t, stop)
		time.Sleep(time.Hour)
		synctest.Wait()
		mustStop(t, stopNew)
		var got []time.Duration
		for _, tick := range all {
			got = append(got, tick.Sub(begin))
		}
		slices.Sort(got)
		if want := []time.Duration{time.Hour, 90 * time.Minute, 2 * time.Hour}; !slices.Equal(got, want) {
			t.Errorf("ticks are %v after the beginning, want %v", got, want)
		}
	})
}

// A definition of another version of the library is read as far as possible.
func TestUnreadableDefinition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC()
		if err := b.Define(t.Context(), []backend.Schedule{{Name: dailyJob.Name(), Definition: "of next year", Next: begin.Add(time.Minute)}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		ticks := ticking(q, dailyJob)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{dailyJob}})
		time.Sleep(7 * time.Hour)
		synctest.Wait()
		mustStop(t, stop)
		if want := []time.Time{begin.Add(time.Minute), begin.Add(6 * time.Hour)}; !slices.Equal(*ticks, want) {
			t.Errorf("ticks are %v, want %v", *ticks, want)
		}
	})
}
