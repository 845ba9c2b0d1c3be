package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

var jobStored = plainjobs.Declare[string]("worker/stored")

// A storedRun is a run for a tick of a stored schedule.
type storedRun struct {
	schedule, data string
	tick           time.Time
}

// storedRuns binds jobStored to a function that returns its runs since the last call, by time.
func storedRuns(q *plainjobs.Queue) (jobs []plainjobs.AnyJob, runs func() []storedRun) {
	var all []storedRun
	var mu sync.Mutex
	jobs = bind(q, jobStored, func(ctx context.Context, data string) error {
		info, _ := plainjobs.FromContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, storedRun{info.Schedule, data, info.Tick})
		return nil
	})
	return jobs, func() []storedRun {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		got := all
		all = nil
		slices.SortFunc(got, func(a, b storedRun) int { return a.tick.Compare(b.tick) })
		return got
	}
}

func setSchedule(t *testing.T, q *plainjobs.Queue, name, expression string, task plainjobs.Task, opts ...plainjobs.ScheduleOption) {
	t.Helper()
	if err := q.SetSchedule(t.Context(), name, expression, task, opts...); err != nil {
		t.Fatal(err)
	}
}

// Each tick runs once, however many workers there are; it knows its schedule, and a worker that does
// not know the job takes ticks as well.
func TestStoredSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		begin := time.Now().UTC() // midnight
		jobs, runs := storedRuns(q)
		others := bind(q, jobA, func(context.Context, string) error { return nil })
		stop := start(t, q, worker.Options{Jobs: others})
		setSchedule(t, q, "hourly", "0 * * * *", jobStored.With("h"))
		setSchedule(t, q, "often", "@every 20m", jobStored.With("o", plainjobs.Priority(2)), plainjobs.Overlap(true))
		setSchedule(t, q, "berlin", "0 3 * * *", jobStored.With("b"), plainjobs.Zone("Europe/Berlin"))
		time.Sleep(70 * time.Minute)
		stops := []func() error{stop, start(t, q, worker.Options{Jobs: jobs}), start(t, q, worker.Options{Jobs: jobs})}
		time.Sleep(70 * time.Minute)
		var want []storedRun
		for m := 20; m <= 140; m += 20 {
			at := begin.Add(time.Duration(m) * time.Minute)
			if want = append(want, storedRun{"often", "o", at}); m == 60 || m == 120 {
				want = append(want, storedRun{"hourly", "h", at})
			}
			if m == 120 {
				want = append(want, storedRun{"berlin", "b", at})
			}
		}
		byAll := func(a, b storedRun) int {
			return strings.Compare(fmt.Sprint(a.tick, a.schedule), fmt.Sprint(b.tick, b.schedule))
		}
		got := runs()
		slices.SortFunc(got, byAll)
		slices.SortFunc(want, byAll)
		if !slices.Equal(got, want) {
			t.Errorf("runs are %v, want %v", got, want)
		}
		infos, err := q.ListSchedules(t.Context(), "hour", "", 0)
		if err != nil || len(infos) != 1 {
			t.Fatalf("ListSchedules = %+v, %v", infos, err)
		}
		i := infos[0]
		if !i.Stored || i.Expression != "0 * * * *" || i.Job != jobStored.Name() || !i.Last.Equal(begin.Add(2*time.Hour)) || len(i.Runs) != 2 || i.Problem != "" {
			t.Errorf("the schedule is %+v", i)
		}
		if last, err := q.Get(t.Context(), i.Runs[0]); err != nil || last.State != plainjobs.Done || !last.Tick.Equal(i.Last) || last.Schedule != "hourly" {
			t.Errorf("its last run is %+v, %v", last, err)
		}
		for _, stop := range stops {
			mustStop(t, stop)
		}
	})
}

// Late ticks run as CatchUp says, after downtime and after a pause of the job's name. A tick that is
// due when its schedule changes still runs, with the new task.
func TestStoredScheduleLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		begin := time.Now().UTC()
		jobs, runs := storedRuns(q)
		setSchedule(t, q, "one", "@hourly", jobStored.With("1"))
		setSchedule(t, q, "three", "@hourly", jobStored.With("3"), plainjobs.CatchUp(3))
		setSchedule(t, q, "none", "@hourly", jobStored.With("0"), plainjobs.CatchUp(0))
		setSchedule(t, q, "changed", "@hourly", jobStored.With("old"))
		want := func(what, data string, hours ...int) {
			t.Helper()
			got := map[string][]int{}
			for _, r := range runs() {
				got[r.data] = append(got[r.data], int(r.tick.Sub(begin)/time.Hour))
			}
			if data == "" {
				if len(got) > 0 {
					t.Errorf("%s: runs are %v", what, got)
				}
				return
			}
			if !slices.Equal(got[data], hours) {
				t.Errorf("%s: %s ran at the hours %v, want %v", what, data, got[data], hours)
			}
		}
		time.Sleep(5*time.Hour + 30*time.Minute)
		setSchedule(t, q, "changed", "30 12 * * *", jobStored.With("new"))
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(time.Minute)
		got := map[string][]int{}
		for _, r := range runs() {
			got[r.data] = append(got[r.data], int(r.tick.Sub(begin)/time.Hour))
		}
		if fmt.Sprint(got) != "map[1:[5] 3:[3 4 5] new:[1]]" {
			t.Errorf("after downtime runs are %v", got)
		}
		if err := q.RemoveSchedule(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if err := q.Pause(t.Context(), jobStored.Name()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		want("while the name is paused", "")
		if err := q.Resume(t.Context(), jobStored.Name()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		want("after the pause", "3", 8, 9, 10)
		time.Sleep(2 * time.Hour)
		want("later", "3", 11, 12)
		mustStop(t, stop)
	})
}

// A schedule that no worker can follow is deferred, reported and listed, and holds up no other.
func TestStoredScheduleWithProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		jobs, runs := storedRuns(q)
		setSchedule(t, q, "good", "* * * * *", jobStored.With("good"))
		for i := range 3 {
			setSchedule(t, q, fmt.Sprint("bad", i), "* * * * *", jobStored.With("bad"))
		}
		spoil := func(name, from, to string) {
			err := b.ChangeSchedule(t.Context(), nil, name, func(_ time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
				s.Definition = strings.Replace(s.Definition, from, to, 1)
				s.Look = s.Next
				return s, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		spoil("bad0", "|* * * * *||", "|* * * * *|Mars/Olympus|")
		spoil("bad1", "|* * * * *||", "|* * * * 9#9~||")
		spoil("bad2", "|* * * * *||", "|")
		var log lockedBuffer
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(5 * time.Minute)
		if got := runs(); len(got) != 5 {
			t.Errorf("runs are %v", got)
		}
		infos, err := q.ListSchedules(t.Context(), "", "", 0)
		if err != nil || len(infos) != 4 {
			t.Fatalf("ListSchedules = %v, %v", infos, err)
		}
		for _, i := range infos {
			if (i.Problem == "") != (i.Name == "good") || i.Name == "bad0" && !strings.Contains(i.Problem, "Mars/Olympus") {
				t.Errorf("the problem of %s is %q", i.Name, i.Problem)
			}
		}
		if !strings.Contains(log.String(), "take the ticks of a stored schedule") {
			t.Errorf("the log has %s", log.String())
		}
		spoil("bad0", "Mars/Olympus", "")
		time.Sleep(90 * time.Second)
		fixed := 0
		for _, r := range runs() {
			if r.schedule == "bad0" {
				fixed++
			}
		}
		if fixed == 0 {
			t.Errorf("after its zone is known the schedule does not tick")
		}
		mustStop(t, stop)
	})
}

// A job that the store refuses keeps its schedule from ticking and no other; ticks of a schedule
// that does not overlap are skipped while its job waits.
func TestStoredScheduleRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		jobs, runs := storedRuns(q)
		others := bind(q, jobA, func(context.Context, string) error { return nil })
		setSchedule(t, q, "alone", "* * * * *", jobStored.With("alone"), plainjobs.Overlap(false))
		setSchedule(t, q, "rejected", "* * * * *", jobStored.With("rejected", plainjobs.Unique("k", plainjobs.Reject())))
		setSchedule(t, q, "good", "* * * * *", jobStored.With("good"))
		stop := start(t, q, worker.Options{Jobs: others})
		time.Sleep(10*time.Minute + time.Second)
		mustStop(t, stop)
		stop = start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(time.Second)
		got := map[string]int{}
		for _, r := range runs() {
			got[r.data]++
		}
		if got["alone"] != 1 || got["rejected"] != 1 || got["good"] != 10 {
			t.Errorf("runs are %v", got)
		}
		mustStop(t, stop)
	})
}

// Stored schedules keep to the promises about a clock that is set: no tick runs again or in a burst
// after it is set forward, and they continue after it is set back.
func TestStoredSchedulesWhateverTheClockShows(t *testing.T) {
	for _, move := range moves {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprint(move, restarts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { storedTurn(t, move, restarts) })
			})
		}
	}
}

func storedTurn(t *testing.T, move time.Duration, restarts bool) {
	var offset atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	q := plainjobs.New(memory.New(&memory.Options{Clock: clock}), nil)
	jobs, runs := storedRuns(q)
	opts := worker.Options{Jobs: jobs, Lease: time.Hour}
	setSchedule(t, q, "every", "@every 1m", jobStored.With("every"), plainjobs.Overlap(true))
	setSchedule(t, q, "cron", "* * * * *", jobStored.With("cron"))
	stops := []func() error{start(t, q, opts), start(t, q, opts)}
	time.Sleep(30*time.Minute + 10*time.Second)
	runs()
	if restarts {
		for _, stop := range stops {
			mustStop(t, stop)
		}
	}
	offset.Store(int64(move))
	if restarts {
		stops = []func() error{start(t, q, opts)}
	}
	time.Sleep(time.Minute + 15*time.Second)
	soon := map[string]int{}
	for _, r := range runs() {
		soon[r.data]++
	}
	if soon["every"] > 2 || soon["cron"] > 2 || soon["every"] == 0 && -move > time.Minute && move < 0 {
		t.Errorf("in the minute after the clock moved runs were %v", soon)
	}
	time.Sleep(10 * time.Minute)
	then := map[string]int{}
	seen := map[storedRun]bool{}
	for _, r := range runs() {
		if seen[r] {
			t.Errorf("a tick ran twice: %v", r)
		}
		seen[r] = true
		then[r.data]++
	}
	if then["every"] < 9 || then["every"] > 11 || then["cron"] < 9 || then["cron"] > 11 {
		t.Errorf("in ten minutes after the clock moved runs were %v", then)
	}
	for _, stop := range stops {
		mustStop(t, stop)
	}
}

// A worker does not start if its program defines a schedule that is stored.
func TestStoredScheduleIsDefined(t *testing.T) {
	b := memory.New(nil)
	q, other := plainjobs.New(b, nil), plainjobs.New(b, nil)
	jobs := bind(q, jobStored, func(context.Context, string) error { return nil })
	setSchedule(t, other, "worker/both", "@daily", jobStored.With(""))
	if err := q.Schedule("worker/both", "@daily", jobStored.With("")); err != nil {
		t.Fatal(err)
	}
	err := worker.New(q, &worker.Options{Jobs: jobs}).Run(t.Context())
	if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "stored schedule") {
		t.Errorf("Run = %v", err)
	}
	if err := start(t, q, worker.Options{Jobs: jobs, NoSchedules: true})(); err != nil {
		t.Errorf("without schedules Run = %v", err)
	}
}

// Drain ends when no tick of a stored schedule is due.
func TestStoredSchedulesDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		jobs, runs := storedRuns(q)
		for i := range 1200 {
			setSchedule(t, q, fmt.Sprint("s", i), "@hourly", jobStored.With(""))
		}
		time.Sleep(time.Hour + time.Second)
		if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(runs()); n != 1200 {
			t.Errorf("%d ticks ran, want 1200", n)
		}
	})
}

// The payload of a stored schedule is encrypted once, and Rekey changes its key.
func TestStoredScheduleEncrypted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		old := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "old")})
		both := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "new", "old")})
		setSchedule(t, old, "secret", "@hourly", jobStored.With(secret))
		for range 2 {
			all, err := b.StoredSchedules(t.Context(), backend.StoredRequest{})
			if err != nil || len(all.Schedules) != 1 || strings.Contains(string(all.Schedules[0].Job.Payload), secret) {
				t.Fatalf("the schedules are %+v, %v", all, err)
			}
			if _, err := both.Rekey(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		time.Sleep(time.Hour + time.Second)
		for name, call := range map[string]func() error{
			"RunSchedule": func() error { _, err := both.RunSchedule(t.Context(), "secret"); return err },
			"Backfill":    func() error { _, err := both.Backfill(t.Context(), "secret", begin.Add(-time.Hour), begin); return err },
		} {
			if err := call(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		q := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "new")}) // the old key is gone
		jobs, runs := storedRuns(q)
		if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := runs()
		if len(got) != 3 {
			t.Errorf("runs are %v, want three", got)
		}
		for _, r := range got {
			if r.data != secret {
				t.Errorf("a run got %q", r.data)
			}
		}
	})
}

// A looked store counts the looks at stored schedules.
type looked struct {
	*memory.Backend
	due, pages atomic.Int64
}

func (b *looked) StoredSchedules(ctx context.Context, req backend.StoredRequest) (backend.StoredSchedules, error) {
	if req.Due {
		b.due.Add(1)
	} else {
		b.pages.Add(1)
	}
	return b.Backend.StoredSchedules(ctx, req)
}

// An idle worker looks once in five seconds, whatever the number of stored schedules, and goes
// through them once after its start.
func TestIdleStoredSchedules(t *testing.T) {
	for _, n := range []int{0, 3, 2500} {
		synctest.Test(t, func(t *testing.T) {
			b := &looked{Backend: memory.New(nil)}
			q := plainjobs.New(b, nil)
			jobs, _ := storedRuns(q)
			for i := range n {
				setSchedule(t, q, fmt.Sprint("s", i), "@yearly", jobStored.With(""))
			}
			stop := start(t, q, worker.Options{Jobs: jobs})
			time.Sleep(time.Hour)
			mustStop(t, stop)
			if due, pages := b.due.Load(), b.pages.Load(); due < 700 || due > 730 || pages != int64(n/1000+1) {
				t.Errorf("with %d schedules the worker looked %d times for due ones and read %d pages", n, due, pages)
			}
		})
	}
}
