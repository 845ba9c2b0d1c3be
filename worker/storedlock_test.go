package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// A lockedStore is a store in which a transaction of the application has locks that ticks need.
type lockedStore struct {
	*memory.Backend
	mu    sync.Mutex
	row   string // the name of a schedule whose row is locked, or empty
	key   string // that of one whose job has a unique key that is locked, or empty
	calls int    // of TickStored and Tick
}

func (s *lockedStore) lock(row, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row, s.key = row, key
}

func (s *lockedStore) locks() (row, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.row, s.key
}

func (s *lockedStore) TickStored(ctx context.Context, ticks []backend.Tick) ([]bool, error) {
	row, key := s.locks()
	var free []backend.Tick
	var at []int
	for i, t := range ticks {
		if t.Name == key {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if t.Name != row {
			free, at = append(free, t), append(at, i)
		}
	}
	taken := make([]bool, len(ticks))
	did, err := s.Backend.TickStored(ctx, free)
	for i := range did {
		taken[at[i]] = did[i]
	}
	return taken, err
}

func (s *lockedStore) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	if _, key := s.locks(); tick.Name == key {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return s.Backend.Tick(ctx, tick)
}

// ticksOf returns how many ticks of each schedule ran, and forgets them.
func ticksOf(runs func() []storedRun) map[string]int {
	n := map[string]int{}
	for _, r := range runs() {
		n[r.schedule]++
	}
	return n
}

// Each tick of a short interval runs.
func TestStoredScheduleShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		jobs, runs := storedRuns(q)
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(3 * time.Second)
		setSchedule(t, q, "short", "@every 1s", jobStored.With("s"), plainjobs.Overlap(true))
		time.Sleep(60*time.Second + 500*time.Millisecond)
		got := runs()
		for i := 1; i < len(got); i++ {
			if d := got[i].tick.Sub(got[i-1].tick); d != time.Second {
				t.Errorf("%v after a tick comes %v", d, got[i].tick)
			}
		}
		if len(got) < 55 {
			t.Errorf("%d ticks ran in a minute", len(got))
		}
		mustStop(t, stop)
	})
}

// While a transaction has the row of a schedule, others tick. After it, all ticks that are late by
// less than a minute run.
func TestStoredScheduleRowLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lockedStore{Backend: memory.New(nil)}
		q := plainjobs.New(store, nil)
		jobs, runs := storedRuns(q)
		for _, name := range []string{"locked", "other"} {
			setSchedule(t, q, name, "@every 1s", jobStored.With("s"), plainjobs.Overlap(true))
		}
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(10*time.Second + 500*time.Millisecond)
		ticksOf(runs)
		store.lock("locked", "")
		time.Sleep(20 * time.Second)
		if got := ticksOf(runs); got["locked"] != 0 || got["other"] != 20 {
			t.Errorf("while a row is locked the ticks are %v", got)
		}
		store.lock("", "")
		time.Sleep(10 * time.Second)
		if got := ticksOf(runs); got["locked"] != 30 || got["other"] != 10 {
			t.Errorf("after that the ticks are %v", got)
		}
		mustStop(t, stop)
	})
}

// A schedule whose tick waits for a lock holds up no other for long, and is reported.
func TestStoredScheduleBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lockedStore{Backend: memory.New(nil)}
		q := plainjobs.New(store, nil)
		jobs, runs := storedRuns(q)
		for i := range 50 {
			setSchedule(t, q, fmt.Sprint("s", i), "@every 2s", jobStored.With("s"), plainjobs.Overlap(true))
		}
		store.lock("", "s7")
		var log lockedBuffer
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(20*time.Second + 500*time.Millisecond)
		got := ticksOf(runs)
		for i := range 50 {
			if n := got[fmt.Sprint("s", i)]; i == 7 && n != 0 || i != 7 && n < 8 {
				t.Errorf("schedule s%d ticked %d times in 20 s", i, n)
			}
		}
		if !strings.Contains(log.String(), "schedule s7: it waits for a lock") {
			t.Errorf("the log has %s", log.String())
		}
		store.lock("", "")
		time.Sleep(20 * time.Second)
		if n := ticksOf(runs)["s7"]; n < 18 {
			t.Errorf("after the lock schedule s7 ticked %d times", n)
		}
		mustStop(t, stop)
	})
}

// A pause of a name that is shorter than a minute delays a tick by seconds and loses none.
func TestStoredSchedulePausedShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		jobs, runs := storedRuns(q)
		setSchedule(t, q, "m", "* * * * *", jobStored.With("m"))
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(59 * time.Second)
		for _, pause := range []time.Duration{3 * time.Second, 50 * time.Second} {
			if err := q.Pause(t.Context(), jobStored.Name()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause)
			if err := q.Resume(t.Context(), jobStored.Name()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Second)
			if got := runs(); len(got) != 1 {
				t.Errorf("after a pause of %v the runs are %v", pause, got)
			}
			time.Sleep(time.Minute - pause - 6*time.Second)
		}
		mustStop(t, stop)
	})
}

var jobStoredFull = plainjobs.Declare[string]("worker/stored-full", plainjobs.MaxPending(3))

// Ticks that the store refuses cost few calls, however many there are.
func TestStoredScheduleRefusesMany(t *testing.T) {
	for name, task := range map[string]plainjobs.Task{
		"full": jobStoredFull.With("s"), "unique": jobStored.With("s", plainjobs.Unique("k", plainjobs.Reject())),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &lockedStore{Backend: memory.New(nil)}
				q := plainjobs.New(store, nil)
				setSchedule(t, q, "s", "@every 1m", task, plainjobs.CatchUp(1000), plainjobs.Overlap(true))
				time.Sleep(20 * time.Hour)
				others := bind(q, jobA, func(context.Context, string) error { return nil })
				stop := start(t, q, worker.Options{Jobs: others})
				time.Sleep(time.Second)
				mustStop(t, stop)
				list, _, err := q.List(t.Context(), plainjobs.Filter{}, 0, 10)
				if want := map[string]int{"full": 3, "unique": 1}[name]; err != nil || len(list) != want {
					t.Errorf("the jobs are %v, %v, want %d", list, err, want)
				}
				if store.calls > 5 {
					t.Errorf("they took %d calls", store.calls)
				}
			})
		})
	}
}
