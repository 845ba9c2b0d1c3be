package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Examine the database as this program opens it",
		Long: `Doctor examines the store as this program opens it, including the application's own
connections, and reports waiting jobs that no worker runs. Each finding includes a
fix.

It compares counts, unique keys, serial keys, errors, results and progress with the
jobs. They differ if jobs were deleted or changed by SQL. With --repair it corrects
them; workers may run meanwhile.`,
		Example: `  doctor
  doctor --repair
  doctor --json | jq 'select(.ok | not)'`,
		Args: takes(0, 0),
	}
	var repair bool
	c.Flags().BoolVar(&repair, "repair", false, "correct counts, keys and other data derived from the jobs")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		var r report
		r.schema(ctx, q)
		stops := false
		if e, ok := (*engine.Handle)(q).Queue().Backend.(backend.Inspector); ok {
			found, err := e.Examine(ctx, backend.ExamineRequest{Derived: true, Repair: repair})
			for _, f := range found {
				what := f.Value
				if f.Problem != "" {
					what += ": " + f.Problem
				}
				stops = stops || f.Stops
				r.findings = append(r.findings, finding{Check: f.Name, OK: f.Problem == "", What: what, Fix: f.Fix})
			}
			if err != nil {
				return err
			}
		}
		look, cancel := context.WithCancel(ctx)
		defer cancel()
		if stops { // the problem may block reads too
			look, cancel = context.WithTimeout(ctx, stoppedWait)
			defer cancel()
		}
		if err := errors.Join(r.environment(look, q), r.workers(look, q), r.ticks(look, q)); err != nil && !stops {
			return err
		}
		return s.report(&r)
	})
}

// stoppedWait is how long doctor reads from a store that a problem stops.
const stoppedWait = 2 * time.Second

// workers reports dead workers, pauses, and waiting jobs that no worker runs.
func (r *report) workers(ctx context.Context, q *plainjobs.Queue) error {
	workers, err := q.Workers(ctx)
	if err != nil {
		return err
	}
	known, alive := map[string]bool{}, 0
	for _, w := range workers {
		if w.Alive {
			alive++
			for _, name := range w.Jobs {
				known[name] = true
			}
		}
	}
	for _, w := range workers {
		if w.Alive {
			continue
		}
		what, fix := "has sent no heartbeat within its lease", "start a worker: it rescues the jobs of this one"
		if w.Ended {
			what = "has exited"
		}
		if alive > 0 {
			fix = "none: the next reap of another worker rescues its jobs"
		}
		r.bad("workers", fix, "%s, pid %d, %s", w.Host, w.PID, what)
	}
	r.well("workers", "%d alive", alive)
	st, err := statsOf(ctx, q)
	if err != nil {
		return err
	}
	if st.sum.info.Paused {
		r.bad("pauses", "resume --all", "the whole queue is paused")
	}
	for _, n := range st.names {
		waits := n.of[plainjobs.Pending]
		switch {
		case waits == 0:
		case n.info.Paused:
			r.bad("pauses", "resume "+n.name, "%s is paused, with %d pending", n.name, waits)
		case !known[n.name]:
			r.bad("workers", "start a worker of a program that defines it", "%s: %d pending, and no live worker runs this job", n.name, waits)
		}
	}
	r.well("jobs", "%s", total(st))
	return nil
}

// late is how long a tick may be overdue. It includes the interval in which workers
// look for ticks, and their lease.
const late = 3 * time.Minute

// ticks reports overdue ticks, and a clock that was set back.
func (r *report) ticks(ctx context.Context, q *plainjobs.Queue) error {
	scheduler, ok := (*engine.Handle)(q).Queue().Backend.(backend.Scheduler)
	if !ok {
		return nil
	}
	all, err := scheduler.Schedules(ctx)
	if err != nil || len(all.Schedules) == 0 {
		return err
	}
	st, err := statsOf(ctx, q)
	if err != nil {
		return err
	}
	paused := map[string]bool{}
	for _, n := range st.names {
		paused[n.name] = n.info.Paused
	}
	for _, s := range all.Schedules {
		_, job, _ := engine.TimingOf(s.Definition)
		held := s.Paused || st.sum.info.Paused || paused[job] || !s.RemovedAt.IsZero()
		switch {
		case s.Last.Sub(all.Now) > time.Second:
			r.bad("clock", "correct the clock", "set back: the last tick of %s was at %s, but now is %s; its next tick is at %s",
				s.Name, shown(s.Last), shown(all.Now), shown(s.Next))
		case !held && all.Now.Sub(s.Next) > late:
			r.bad("schedules", "start a worker of a program that defines it", "%s: the tick of %s is overdue", s.Name, shown(s.Next))
		}
	}
	return nil
}

func shown(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func total(st *stats) string {
	waiting := st.sum.of[plainjobs.Pending] + st.sum.of[plainjobs.Blocked] + st.sum.of[plainjobs.Scheduled]
	return fmt.Sprintf("%d waiting, %d running, %d failed", waiting, st.sum.of[plainjobs.Running], st.sum.of[plainjobs.Failed])
}
