package torture

import (
	"fmt"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var pointTest = &Test{
	ID:     "point",
	About:  "a process kills itself at each named point between two writes",
	Unit:   "crashes at each point",
	Counts: []string{"points", "crashes"},
	Short:  1, Full: 50,
	run: point,
}

// scriptTime is how long a script may take to reach its point.
const scriptTime = 30 * time.Second

func point(r *rig) {
	hits, violations, unreached := 0, 0, 0
	points := child.Points()
	least := r.Rounds
	for round := range r.Rounds {
		if !r.more() {
			least = round
			break
		}
		r.tell("%d crashes at each of %d points", round, len(points))
		for _, at := range points {
			reached := false
			violations += r.sub(at, func(sub *rig) { reached = sub.crashAt(at) })
			if !reached {
				unreached++
				r.result.faultf("point %s was not reached", at)
			}
			hits++
		}
	}
	r.result.add("points", len(points))
	r.result.add("crashes", hits)
	r.result.add("crashes_each", least)
	r.result.must("unreached", unreached)
	r.result.must("violations", violations)
}

// crashAt has a process die at a point on a new database, and then a worker run
// the jobs that are left.
func (r *rig) crashAt(at string) (reached bool) {
	o := child.Order{Role: child.Script, Point: at, Hit: 1 + r.random.IntN(20), Lease: 300 * time.Millisecond}
	switch {
	case strings.HasPrefix(at, "migrate."):
		o.Hit = 1 // a new database has one migration
	case at == "statement":
		o.Hit = 1 + r.random.IntN(400)
	}
	victim := r.spawn(o)
	select {
	case <-victim.ended:
		reached = !victim.cmd.ProcessState.Exited() // it ended by a signal
		if victim.cmd.ProcessState.ExitCode() > 0 {
			check(victim.failure())
		}
	case <-r.ctx.Done():
		check(r.ctx.Err())
	case <-time.After(scriptTime):
		check(fmt.Errorf("%s: the script does not end", at))
	}
	worker := r.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: 300 * time.Millisecond, Grace: time.Second})
	server := r.server()
	r.drain(server, 10*time.Second)
	worker.stop()
	schedules := server.ask(child.Command{Op: child.OpSchedules})
	v := r.finish(server, func(run *run) bool {
		// Before its commit, a completion is not stored.
		return run.accepted || run.p.died() && at != "complete.begun" && at != "complete.written"
	})
	if v.crashed+v.failed > 0 {
		r.result.faultf("%d jobs are failed", v.crashed+v.failed)
	}
	if v.unacknowledged > scriptOpen {
		r.result.faultf("%d jobs exist whose push was never acknowledged", v.unacknowledged)
	}
	r.judgeTick(schedules.Schedules, v.ending)
	return reached
}

// scriptOpen is the most jobs that a script pushes at once.
const scriptOpen = 10

// judgeTick checks that the schedule of a script stands at its last job,
// whether that push was acknowledged or not.
func (r *rig) judgeTick(schedules []child.Schedule, e ending) {
	taken := int64(0)
	for _, s := range schedules {
		if s.Name == child.ScriptSchedule {
			taken = (s.Next - child.ScriptBegins.UnixMicro()) / time.Second.Microseconds()
		}
	}
	told, there := int64(0), map[int64]bool{}
	for _, n := range r.acks.ids {
		if n >= child.ScriptTicks {
			told++
		}
	}
	for _, j := range e.jobs {
		there[j.N] = true
	}
	// The last job cannot have been pruned: nothing prunes any more.
	last := child.ScriptTicks + told
	if unreported := taken - told; unreported < 0 || unreported > 1 || unreported == 1 != there[last] {
		r.result.faultf("the schedule has had %d ticks, %d were acknowledged, and the job of the next one is there: %v", taken, told, there[last])
	}
}
