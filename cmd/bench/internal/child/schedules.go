package child

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
	"github.com/plainjobs/plainjobs/worker"
)

// tickSpace is the time between two ticks of n schedules: a millisecond, or more for less than 10,000.
func tickSpace(n int) time.Duration {
	return max(time.Millisecond, (10 * time.Second / time.Duration(n)).Truncate(time.Microsecond))
}

// schedules measures stored schedules: two workers while no tick is due, for the CPU time, and while
// 1,000 are due each second. Each schedule ticks once.
var schedules = &Scenario{
	Name:     "schedules",
	About:    "stored schedules with 1,000 ticks a second, and CPU time of two workers before the first tick; -jobs is the number of schedules",
	Jobs:     jobs(100_000),
	Workers:  []int{8},
	Latency:  "from a tick to the handler",
	Rateless: true,
	Once:     true,
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		if err := storeSchedules(ctx, store, o.Jobs, time.Now().Add(time.Hour)); err != nil {
			return nil, err
		}
		idle, err := tickFor(ctx, queue, o, time.Time{}, 0)
		if err != nil {
			return nil, err
		}
		window := 30 * time.Second
		if o.Brief {
			window = 2 * time.Second
		}
		from := time.Now().Add(time.Duration(o.Jobs)*time.Second/5000 + 2*time.Second).Truncate(time.Microsecond).UTC()
		if err := storeSchedules(ctx, store, o.Jobs, from); err != nil {
			return nil, err
		}
		r, err := tickFor(ctx, queue, o, from, min(int(window/tickSpace(o.Jobs)), o.Jobs))
		r.CPU, r.Wakeups, r.Durability = idle.CPU, idle.Wakeups, durability(store)
		return []Result{r}, err
	},
}

// storeSchedules stores n schedules whose only ticks in this year are spread evenly from a time on.
func storeSchedules(ctx context.Context, store backend.Backend, n int, from time.Time) error {
	var part []backend.StoredSchedule
	for i := range n {
		next := from.Add(time.Duration(i) * tickSpace(n))
		part = append(part, backend.StoredSchedule{
			Name: fmt.Sprint("tick/", i), Definition: "bench|@yearly||1|0", Next: next, Look: next,
			Job: backend.NewJob{Name: "bench", Payload: fmt.Append(nil, i), MaxAttempts: 1},
		})
		if len(part) == batch || i == n-1 {
			if _, err := store.(backend.ExportImporter).Import(ctx, backend.Batch{Stored: part}); err != nil {
				return err
			}
			part = part[:0]
		}
	}
	return nil
}

// A tickTally has the runs of the ticks.
type tickTally struct {
	mu     sync.Mutex
	runs   map[string]map[time.Time]int // by schedule and tick
	delays []time.Duration
}

func (t *tickTally) handle(ctx context.Context, _ int) error {
	now := time.Now()
	info, _ := plainjobs.FromContext(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.runs[info.Schedule] == nil {
		t.runs[info.Schedule] = map[time.Time]int{}
	}
	t.runs[info.Schedule][info.Tick]++
	t.delays = append(t.delays, max(0, now.Sub(info.Tick)))
	return nil
}

// tickFor runs two workers until the first ticks have run. If there are none, it measures the workers
// while they wait.
func tickFor(ctx context.Context, queue *plainjobs.Queue, o Order, from time.Time, ticks int) (r Result, err error) {
	ctx, stop := context.WithCancel(ctx)
	t := &tickTally{runs: map[string]map[time.Time]int{}}
	plainjobs.Handle(queue, job, t.handle)
	var working sync.WaitGroup
	var errs [2]error
	for i := range errs {
		w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}})
		working.Go(func() { errs[i] = w.Run(ctx) })
	}
	start := time.Now()
	if ticks == 0 {
		runtime.GC()
		r.Measures, err = quiet(o, nil)
	} else {
		m, begun := begin(o)
		if err = begun; err == nil {
			time.Sleep(time.Until(from.Add(time.Duration(ticks)*tickSpace(o.Jobs) + 2*time.Second)))
			_, r.Measures, err = m.end(ticks)
		}
	}
	stop()
	working.Wait()
	if err = errors.Join(err, errs[0], errs[1]); err != nil || ticks == 0 {
		r.Seconds = time.Since(start).Seconds()
		return r, err
	}
	r.Seconds = time.Since(start).Seconds()
	r.Latency = harness.Percentiles(t.delays)
	return t.count(r, o.Jobs, from, ticks), nil
}

// count adds how many of the first ticks ran, ran twice, or did not run.
func (t *tickTally) count(r Result, schedules int, from time.Time, ticks int) Result {
	for i := range ticks {
		n := t.runs[fmt.Sprint("tick/", i)][from.Add(time.Duration(i)*tickSpace(schedules))]
		r.Jobs++
		if n == 0 {
			r.Lost++
			continue
		}
		r.Repeated += n - 1
	}
	return r
}
