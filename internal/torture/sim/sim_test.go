// Package sim runs workers over simulated time: on the store in memory, in a
// testing/synctest bubble, where a day passes at once.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // for Europe/Berlin on systems without zones

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A work is the payload of a job that fails a few times.
type work struct {
	N, Fails, Snoozes int
	Takes             time.Duration
}

const maxAttempts = 6

func unbound(context.Context, time.Time) error { return errors.New("this job has no handler here") }

var (
	worked  = plainjobs.Declare[work]("sim/work", plainjobs.MaxAttempts(maxAttempts))
	minutes = plainjobs.Cron("sim/five-minutes", "*/5 * * * *", unbound, plainjobs.CatchUp(100))
	nights  = plainjobs.Cron("sim/half-past-two", "30 2 * * *", unbound, plainjobs.Zone("Europe/Berlin"), plainjobs.CatchUp(100))
	hours   = plainjobs.Every("sim/hour", time.Hour, unbound, plainjobs.CatchUp(100))
)

// A year is one simulation.
type year struct {
	t      *testing.T
	random *rand.Rand
	queue  *plainjobs.Queue

	mu    sync.Mutex
	ticks map[string][]time.Time
	works map[int]*fate
	runs  int
}

// A fate is what happened to a work.
type fate struct {
	work
	failed, snoozed, done int
	interrupted           int
	at                    time.Time     // when the last run ended
	least, most           time.Duration // until the next run may begin
}

// TestYear simulates two weeks, or PLAINJOBS_SIM_DAYS, with the seed
// PLAINJOBS_SIM_SEED. "go run ./cmd/torture -test sim" simulates a year.
func TestYear(t *testing.T) {
	days, seed := number(t, "PLAINJOBS_SIM_DAYS", 14), number(t, "PLAINJOBS_SIM_SEED", 1)
	y := &year{
		t: t, random: rand.New(rand.NewPCG(uint64(seed), 0)), //nolint:gosec // it is to be repeatable
		ticks: map[string][]time.Time{}, works: map[int]*fate{},
	}
	synctest.Test(t, func(t *testing.T) { y.simulate(t, days) })
	y.judgeTicks(minutes.Name(), func(last time.Time) time.Time { return last.Add(5 * time.Minute) }, days*288)
	y.judgeTicks(hours.Name(), func(last time.Time) time.Time { return last.Add(time.Hour) }, days*24)
	y.judgeTicks(nights.Name(), nextNight(t), days)
	retries := 0
	for _, f := range y.works {
		retries += f.failed
		failures := min(f.Fails, maxAttempts)
		if done := f.done == 1; f.failed != failures || f.snoozed != f.Snoozes || done != (f.Fails < maxAttempts) || f.done > 1 {
			t.Errorf("work %+v", *f)
		}
	}
	fmt.Printf("sim: days=%d ticks=%d works=%d retries=%d runs=%d\n",
		days, len(y.ticks[minutes.Name()])+len(y.ticks[hours.Name()])+len(y.ticks[nights.Name()]), len(y.works), retries, y.runs)
}

func number(t *testing.T, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (y *year) simulate(t *testing.T, days int) {
	y.queue = plainjobs.New(memory.New(nil), nil)
	plainjobs.Handle(y.queue, worked, y.work)
	for _, job := range []*plainjobs.Job[time.Time]{minutes, nights, hours} {
		plainjobs.Handle(y.queue, job, func(_ context.Context, tick time.Time) error {
			y.mu.Lock()
			defer y.mu.Unlock()
			y.runs++
			y.ticks[job.Name()] = append(y.ticks[job.Name()], tick)
			return nil
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(days)*24*time.Hour)
	defer cancel()
	// Works are pushed as long as there is time to finish them.
	var all sync.WaitGroup
	for i := range 2 {
		random := rand.New(rand.NewPCG(y.random.Uint64(), uint64(i))) //nolint:gosec // it is to be repeatable
		all.Go(func() { y.employ(ctx, random) })
	}
	push := time.Duration(days-4) * 24 * time.Hour
	for n := range days * 3 {
		wait(ctx, time.Duration(y.random.Int64N(int64(push/time.Duration(days*3)))))
		w := work{N: n, Fails: y.random.IntN(8), Snoozes: y.random.IntN(3), Takes: time.Duration(y.random.IntN(1800)) * time.Second}
		y.mu.Lock()
		y.works[n] = &fate{work: w}
		y.mu.Unlock()
		in := time.Duration(y.random.IntN(3600)) * time.Second
		if _, err := y.queue.Perform(ctx, worked.With(w, plainjobs.In(in))); err != nil {
			y.t.Error(err)
		}
	}
	<-ctx.Done()
	all.Wait()
	if err := y.queue.Close(); err != nil {
		y.t.Error(err)
	}
}

// employ runs one worker after the other, each for up to ten days.
func (y *year) employ(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		life, end := context.WithTimeout(ctx, time.Duration(1+random.IntN(10*24*60))*time.Minute)
		err := worker.New(y.queue, &worker.Options{
			Jobs: []plainjobs.AnyJob{worked, minutes, nights, hours}, Concurrency: 20, Lease: 30 * time.Minute,
			Logger: slog.New(slog.DiscardHandler),
		}).Run(life)
		end()
		if err != nil {
			y.t.Error(err)
		}
	}
}

// work is the handler of works. An interrupted run ends at once and counts as
// not run.
func (y *year) work(ctx context.Context, w work) (err error) {
	info, _ := plainjobs.FromContext(ctx)
	y.mu.Lock()
	y.runs++
	f := y.works[w.N]
	// Stores keep whole microseconds.
	if since := time.Since(f.at) + time.Microsecond; !f.at.IsZero() && (since < f.least || since > f.most) {
		y.t.Errorf("attempt %d of work %+v begins %v after the last run", info.Attempt, *f, since)
	}
	if info.Attempt != f.failed+1 {
		y.t.Errorf("attempt %d of work %+v", info.Attempt, *f)
	}
	y.mu.Unlock()
	wait(ctx, w.Takes)
	y.mu.Lock()
	defer y.mu.Unlock()
	f.at = time.Now()
	if ctx.Err() != nil {
		f.interrupted++
		f.least, f.most = 0, time.Hour // another worker claims it soon
		return ctx.Err()
	}
	const slack = time.Minute
	switch {
	case f.snoozed < w.Snoozes:
		f.snoozed++
		f.least, f.most = time.Hour, time.Hour+slack
		return plainjobs.Snooze(time.Hour)
	case info.Attempt <= w.Fails:
		f.failed++
		backoff := time.Duration(info.Attempt*info.Attempt*info.Attempt*info.Attempt) * time.Second
		f.least, f.most = backoff*9/10, backoff*11/10+slack
		if w.N%3 == 0 {
			panic("simulated")
		}
		return errors.New("simulated")
	}
	f.done++
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// judgeTicks finds missing and repeated ticks.
func (y *year) judgeTicks(name string, next func(time.Time) time.Time, want int) {
	ticks := y.ticks[name]
	slices.SortFunc(ticks, time.Time.Compare)
	for i := 1; i < len(ticks); i++ {
		if want := next(ticks[i-1]); !ticks[i].Equal(want) {
			y.t.Errorf("%s: after tick %v comes %v, want %v", name, ticks[i-1], ticks[i], want)
		}
	}
	if n := len(ticks); n < want-1 || n > want+1 {
		y.t.Errorf("%s: %d ticks, want %d", name, n, want)
	}
}

// nextNight returns a function that returns the next tick of a job at half past
// two: the next day's, or the end of the hour that DST skips.
func nextNight(t *testing.T) func(time.Time) time.Time {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return func(last time.Time) time.Time {
		y, m, d := last.In(berlin).Date()
		next := time.Date(y, m, d+1, 2, 30, 0, 0, berlin)
		if next.In(berlin).Hour() != 2 { // the clock skips it
			return time.Date(y, m, d+1, 3, 0, 0, 0, berlin)
		}
		if twice := next.Add(-time.Hour); twice.In(berlin).Hour() == 2 { // the clock shows it twice
			return twice
		}
		return next
	}
}
