package torture

import (
	"context"
	"errors"
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

// alive is how long a script may take to come to its point.
const alive = 30 * time.Second

func point(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	err = r.points(ctx)
	return r.result, err
}

func (r *rig) points(ctx context.Context) error {
	hits, violations, unreached := 0, 0, 0
	points := child.Points()
	least := r.Rounds
	for round := range r.Rounds {
		if !r.more(ctx) {
			least = round
			break
		}
		if round%5 == 4 {
			r.progress("%d crashes at each of %d points", round, len(points))
		}
		for _, at := range points {
			reached, faults, err := r.crashAt(ctx, at)
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			if !reached {
				unreached++
				r.result.faultf("point %s was not reached", at)
			}
			hits++
			violations += len(faults)
			for _, f := range faults {
				r.result.faultf("%s: %s", at, f)
			}
		}
	}
	r.result.add("points", len(points))
	r.result.add("crashes", hits)
	r.result.add("crashes_each", least)
	r.result.must("unreached", unreached)
	r.result.must("violations", violations)
	r.result.add("sec", int(time.Since(r.began).Seconds()))
	return ctx.Err()
}

// crashAt has a process die at a point on a new database and then a worker do
// what is left.
func (r *rig) crashAt(ctx context.Context, at string) (reached bool, faults []string, err error) {
	sub, err := r.within(ctx)
	if err != nil {
		return false, nil, err
	}
	defer sub.close()
	o := child.Order{Role: child.Script, Point: at, Hit: 1 + sub.random.IntN(20), Lease: 300 * time.Millisecond}
	switch {
	case strings.HasPrefix(at, "migrate."):
		o.Hit = 1 // there is one, when the database is new
	case at == "statement":
		o.Hit = 1 + sub.random.IntN(400)
	}
	victim, err := sub.spawn(o)
	if err != nil {
		return false, nil, err
	}
	select {
	case <-victim.ended:
		reached = !victim.cmd.ProcessState.Exited() // but by a signal
		if victim.cmd.ProcessState.ExitCode() > 0 {
			return false, nil, victim.failure()
		}
	case <-ctx.Done():
		return false, nil, ctx.Err()
	case <-time.After(alive):
		return false, nil, errors.New("the script does not come to an end")
	}
	worker, err := sub.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: 300 * time.Millisecond, Grace: time.Second})
	if err != nil {
		return reached, nil, err
	}
	server, err := sub.server(ctx)
	if err != nil {
		return reached, nil, err
	}
	if _, _, err := sub.drain(ctx, server, 10*time.Second); err != nil {
		return reached, nil, err
	}
	if err := worker.stop(ctx); err != nil {
		return reached, nil, err
	}
	schedules, err := server.ask(ctx, child.Command{Op: child.OpSchedules})
	if err != nil {
		return reached, nil, err
	}
	v, err := sub.finish(ctx, server, func(run *run) bool {
		// Before the commit of a completion there is none.
		return run.accepted || run.p.died() && at != "complete.begun" && at != "complete.written"
	})
	if err != nil {
		return reached, nil, err
	}
	if v.crashed+v.failed > 0 {
		sub.result.faultf("%d jobs are failed", v.crashed+v.failed)
	}
	if v.strangers > scriptOpen {
		sub.result.faultf("%d jobs exist whose push was never acknowledged", v.strangers)
	}
	sub.judgeTick(schedules.Schedules, v.ending)
	return reached, sub.result.Faults, nil
}

// scriptOpen is how many jobs a script pushes at once at most.
const scriptOpen = 10

// judgeTick sees to it that the schedule of a script stands where its last job
// is, whether or not anybody was told of that.
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
	// The last one cannot have been pruned: nothing prunes any more.
	last := child.ScriptTicks + told
	if untold := taken - told; untold < 0 || untold > 1 || untold == 1 != there[last] {
		r.result.faultf("the schedule has had %d ticks, %d were told of, and of the next the job is there: %v", taken, told, there[last])
	}
}
