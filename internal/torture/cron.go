package torture

import (
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

func cron(r *rig) { (&ticking{rig: r}).all() }

// A ticking is one run of the test.
type ticking struct {
	*rig
	server  *process
	workers [3]*process
	kills   int
	// first and last are the stored schedules at the beginning and at the end.
	first, last map[string]child.Schedule
}

func (t *ticking) all() {
	t.server = t.rig.server()
	for i := range t.workers {
		t.workers[i] = t.worker()
	}
	t.until("the schedules are there", func() bool {
		t.first = t.schedules("")
		return len(t.first) == child.Schedules
	})
	for t.kills < t.Rounds && t.more() {
		t.pause(100 * time.Millisecond)
		i := t.random.IntN(len(t.workers))
		if t.workers[i].over() {
			t.result.faultf("%v", t.workers[i].failure())
		}
		t.kills++
		t.workers[i].kill()
		t.workers[i] = t.worker()
		t.tell("%d of %d kills", t.kills, t.Rounds)
	}
	t.end()
}

func (t *ticking) worker() *process {
	return t.spawn(child.Order{Role: child.Tick, Concurrency: killConcurrency, Lease: shortLease, Grace: time.Second})
}

func (t *ticking) schedules(mode string) map[string]child.Schedule {
	byName := map[string]child.Schedule{}
	for _, s := range t.server.ask(child.Command{Op: child.OpSchedules, Mode: mode}).Schedules {
		byName[s.Name] = s
	}
	return byName
}

// end stops the schedules, lets the workers finish, and judges the result.
func (t *ticking) end() {
	check(t.ctx.Err())
	each(t.workers[:], (*process).begun)
	// A worker stores its definitions before it runs the first job. One that
	// did so after the schedules are stopped would start them again.
	t.workersTick()
	t.last = t.schedules("stop")
	took := t.drain(t.server, 10*shortLease+20*time.Second)
	each(t.workers[:], (*process).stop)
	e := t.inspect(t.server)
	t.server.stop()
	h := t.history()
	r := &t.result
	r.add("kills", t.kills)
	r.add("schedules", len(t.last))
	t.judgeTicks(e)
	t.judgeTicked(e, h)
	t.integrity(e)
	r.add("drain", took)
}

// workersTick waits until every worker has run a job.
func (t *ticking) workersTick() {
	t.until("every worker has run a job", func() bool {
		h := t.history()
		return !slices.ContainsFunc(t.workers[:], func(p *process) bool { return h.ticks[p] == 0 })
	})
}

// judgeTicks checks the jobs of each schedule: their ticks must follow each
// other at its interval, from the first stored tick to the one before the
// stored next tick.
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
		want := first.Next // if no tick was taken before
		if first.Last != 0 {
			want = first.Last
		}
		for i, tick := range all {
			switch {
			case i == 0 && first.Last != 0 && tick <= want && (want-tick)%interval == 0: // taken before the first look
			case i > 0 && tick == all[i-1]:
				doubled++
				t.result.faultf("%s: tick %d has two jobs", name, tick)
				continue
			case tick != want:
				missed++
				t.result.faultf("%s: tick %d, want %d, one every %d", name, tick, want, interval)
			}
			want = tick + interval
		}
		if want < last.Next {
			missed++
			t.result.faultf("%s: tick %d is missing, and the stored next one is %d", name, want, last.Next)
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
