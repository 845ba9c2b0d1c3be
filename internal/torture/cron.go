package torture

import (
	"context"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var cronTest = &Test{
	ID:     "cron",
	About:  "one of three workers with 100 schedules is killed every 100 ms; each tick must push one job",
	Unit:   "kills",
	Counts: []string{"kills", "ticks"},
	Short:  25, Full: 600,
	Mixed: true,
	run:   cron,
}

func cron(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	err = (&ticking{rig: r}).all(ctx)
	return r.result, err
}

// A ticking is one run of the test.
type ticking struct {
	*rig
	server  *process
	workers [3]*process
	kills   int
	// first and last are the schedules as they were at the beginning and the
	// end.
	first, last map[string]child.Schedule
}

func (t *ticking) all(ctx context.Context) (err error) {
	if t.server, err = t.rig.server(ctx); err != nil {
		return err
	}
	for i := range t.workers {
		if t.workers[i], err = t.worker(); err != nil {
			return err
		}
	}
	err = t.until(ctx, "the schedules are there", func() (bool, error) {
		t.first, err = t.schedules(ctx, "")
		return len(t.first) == child.Schedules, err
	})
	if err != nil {
		return err
	}
	told := time.Now()
	for t.kills < t.Rounds && t.more(ctx) {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		i := t.random.IntN(len(t.workers))
		if t.workers[i].over() {
			t.result.faultf("%v", t.workers[i].failure())
		}
		t.kills++
		if err := t.workers[i].kill(); err != nil {
			return err
		}
		if t.workers[i], err = t.worker(); err != nil {
			return err
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			t.progress("%d of %d kills", t.kills, t.Rounds)
		}
	}
	return t.end(ctx)
}

func (t *ticking) worker() (*process, error) {
	return t.spawn(child.Order{Role: child.Tick, Concurrency: killConcurrency, Lease: shortLease, Grace: time.Second})
}

func (t *ticking) schedules(ctx context.Context, mode string) (map[string]child.Schedule, error) {
	reply, err := t.server.ask(ctx, child.Command{Op: child.OpSchedules, Mode: mode})
	byName := map[string]child.Schedule{}
	for _, s := range reply.Schedules {
		byName[s.Name] = s
	}
	return byName, err
}

// end stops the schedules, lets the workers finish, and judges.
func (t *ticking) end(ctx context.Context) (err error) {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, p := range t.workers {
		if err := p.begun(ctx); err != nil {
			return err
		}
	}
	// A worker stores its definitions before it runs the first job. One that
	// did so after the schedules are stopped would let them go on.
	if err := t.workersTick(ctx); err != nil {
		return err
	}
	if t.last, err = t.schedules(ctx, "stop"); err != nil {
		return err
	}
	_, took, err := t.drain(ctx, t.server, 10*shortLease+20*time.Second)
	if err != nil {
		return err
	}
	for _, p := range t.workers {
		if err := p.stop(ctx); err != nil {
			return err
		}
	}
	e, err := t.inspect(ctx, t.server)
	if err != nil {
		return err
	}
	if err := t.server.stop(ctx); err != nil {
		return err
	}
	h, err := t.history()
	if err != nil {
		return err
	}
	r := &t.result
	r.add("kills", t.kills)
	r.add("schedules", len(t.last))
	t.judgeTicks(e)
	t.judgeTicked(e, h)
	t.integrity(e)
	r.add("drain", took)
	t.sec()
	return nil
}

// workersTick waits until every worker has run a job.
func (t *ticking) workersTick(ctx context.Context) error {
	return t.until(ctx, "every worker has run a job", func() (bool, error) {
		h, err := t.history()
		if err != nil {
			return false, err
		}
		for _, p := range t.workers {
			if h.ticks[p] == 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// judgeTicks looks at the jobs of each schedule: their ticks must follow each
// other at its interval, from the one that was stored first to the one before
// the one that was to come at last.
func (t *ticking) judgeTicks(e ending) {
	ticks := map[string][]int64{}
	for _, j := range e.jobs {
		ticks[j.Name] = append(ticks[j.Name], j.Tick)
	}
	total, doubled, missed := 0, 0, 0
	for i := range child.Schedules {
		name, interval := child.ScheduleName(i), child.Interval(i).Microseconds()
		all := ticks[name]
		slices.Sort(all)
		total += len(all)
		first, last := t.first[name], t.last[name]
		want := first.Next // the first one, if there was none before
		if first.Last != 0 {
			want = first.Last
		}
		for i, tick := range all {
			switch {
			case i == 0 && first.Last != 0 && tick <= want && (want-tick)%interval == 0: // it was before
			case i > 0 && tick == all[i-1]:
				doubled++
				t.result.faultf("%s: tick %d has two jobs", name, tick)
				continue
			case tick != want:
				missed++
				t.result.faultf("%s: tick %d comes where %d is to, every %d", name, tick, want, interval)
			}
			want = tick + interval
		}
		if want < last.Next {
			missed++
			t.result.faultf("%s: the ticks end before %d, and the stored one to come is %d", name, want, last.Next)
		}
		delete(ticks, name)
	}
	t.result.add("ticks", total)
	t.result.must("doubled", doubled)
	t.result.must("missed", missed)
	t.result.must("strangers", len(ticks))
}

// judgeTicked compares the jobs with their runs.
func (t *ticking) judgeTicked(e ending, h *history) {
	runs, wrong, stuck, lost := map[int64]int{}, 0, 0, 0
	for _, run := range h.ticked {
		runs[run.id]++
		if j := e.jobs[run.id]; j.Name != child.ScheduleName(run.schedule) || j.Tick != run.tick {
			wrong++
			t.result.faultf("job %d ran for tick %d of schedule %d; it is %+v", run.id, run.tick, run.schedule, j)
		}
	}
	failed := 0
	for id, j := range e.jobs {
		switch {
		case j.State == "failed" && j.Crashes > 0:
			failed++
		case j.State != "done":
			stuck++
			t.result.faultf("job %d is %s at the end: %+v", id, j.State, j)
		case runs[id] == 0:
			lost++
			t.result.faultf("job %d is done and did not run", id)
		}
	}
	t.result.add("runs", len(h.ticked))
	t.result.add("failed_as_suspects", failed)
	t.result.must("wrong_ticks", wrong)
	t.result.must("stuck", stuck)
	t.result.must("lost", lost)
}
