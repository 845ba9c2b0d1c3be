package worker_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// ticking binds a schedule's job to a list of its ticks.
func ticking(q *plainjobs.Queue, job *plainjobs.Job[time.Time]) *[]time.Time {
	var ticks []time.Time
	var mu sync.Mutex
	plainjobs.Handle(q, job, func(_ context.Context, tick time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		ticks = append(ticks, tick)
		return nil
	})
	return &ticks
}

func TestSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC() // midnight
		hourly, skip, three, every := ticking(q, hourlyJob), ticking(q, skipJob), ticking(q, threeJob), ticking(q, everyJob)
		opts := worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob, skipJob, threeJob, everyJob}}
		// Two workers, and each tick once.
		stops := []func() error{start(t, q, opts), start(t, q, opts)}
		time.Sleep(3*time.Hour + 30*time.Minute)
		synctest.Wait()
		at := func(hours ...int) (all []time.Time) {
			for _, h := range hours {
				all = append(all, begin.Add(time.Duration(h)*time.Hour))
			}
			return all
		}
		for name, ticks := range map[string]*[]time.Time{"hourly": hourly, "skip": skip, "three": three} {
			if !slices.Equal(*ticks, at(1, 2, 3)) {
				t.Errorf("%s ticked at %v", name, *ticks)
			}
			*ticks = nil
		}
		if len(*every) != 21 || !(*every)[20].Equal(begin.Add(3*time.Hour+30*time.Minute)) {
			t.Errorf("every ten minutes are %d ticks, the last at %v", len(*every), (*every)[len(*every)-1])
		}
		*every = nil
		for _, stop := range stops {
			mustStop(t, stop)
		}
		// No worker runs for more than six hours, from 3:30 to 10:00:30.
		time.Sleep(6*time.Hour + 30*time.Minute + 30*time.Second)
		stop := start(t, q, opts)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		for name, c := range map[string]struct {
			ticks *[]time.Time
			want  []time.Time
		}{"hourly": {hourly, at(10)}, "skip": {skip, at(10)}, "three": {three, at(8, 9, 10)}} {
			slices.SortFunc(*c.ticks, time.Time.Compare)
			if !slices.Equal(*c.ticks, c.want) {
				t.Errorf("%s made up with %v, want %v", name, *c.ticks, c.want)
			}
		}
		if n := len(*every); n != 1+3 {
			t.Errorf("every ten minutes made up with %d ticks in half an hour, want one and three", n)
		}
		mustStop(t, stop)
	})
}

func TestPausedSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC()
		hourly := ticking(q, hourlyJob)
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob}})
		time.Sleep(90 * time.Minute)
		if err := q.PauseSchedule(t.Context(), hourlyJob.Name(), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		infos, err := q.Schedules(t.Context())
		if err != nil || len(infos) != 1 || !infos[0].Paused || infos[0].Expression != "0 * * * *" || infos[0].Differs {
			t.Errorf("Schedules = %+v, %v", infos, err)
		}
		if err := q.PauseSchedule(t.Context(), hourlyJob.Name(), false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		mustStop(t, stop)
		if want := []time.Time{begin.Add(time.Hour), begin.Add(5 * time.Hour)}; !slices.Equal(*hourly, want) {
			t.Errorf("ticks are %v, want %v: no missed tick runs", *hourly, want)
		}
	})
}

// A worker without a schedule does not tick it while others have it. A schedule that no
// worker has is removed, and its missed ticks run when a worker has it again.
func TestRemovedSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC()
		hourly, skip, three := ticking(q, hourlyJob), ticking(q, skipJob), ticking(q, threeJob)
		plainjobs.Handle(q, jobA, func(context.Context, string) error { return nil })
		var log lockedBuffer
		with := worker.Options{
			Jobs: []plainjobs.AnyJob{hourlyJob, skipJob, threeJob, jobA}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		stop := start(t, q, with)
		time.Sleep(90 * time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		without := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{jobA}})
		time.Sleep(5 * time.Hour)
		infos, err := q.Schedules(t.Context())
		if err != nil || len(infos) != 3 || infos[0].RemovedAt.IsZero() {
			t.Errorf("Schedules = %+v, %v, want them removed", infos, err)
		}
		stop = start(t, q, with)
		time.Sleep(time.Hour)
		synctest.Wait()
		for name, c := range map[string]struct {
			ticks *[]time.Time
			hours []int
		}{"hourly": {hourly, []int{1, 6, 7}}, "skip": {skip, []int{1, 7}}, "three": {three, []int{1, 4, 5, 6, 7}}} {
			var want []time.Time
			for _, h := range c.hours {
				want = append(want, begin.Add(time.Duration(h)*time.Hour))
			}
			slices.SortFunc(*c.ticks, time.Time.Compare)
			if !slices.Equal(*c.ticks, want) {
				t.Errorf("ticks of %s are %v, want %v", name, *c.ticks, want)
			}
		}
		if n := strings.Count(log.String(), "missed ticks do not run"); n != 3 {
			t.Errorf("the log says %d times that ticks were missed: %s", n, log.String())
		}
		mustStop(t, stop)
		mustStop(t, without)
	})
}

func TestUnknownZone(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	err := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{marsJob}}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Mars/Olympus") || !strings.Contains(err.Error(), "life_test.go:") {
		t.Errorf("Run with an unknown zone = %v", err)
	}
}
