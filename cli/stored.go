package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// A run is a job that a tick of a stored schedule pushed.
type run struct {
	ID         int64      `json:"id"`
	State      string     `json:"state"` // "deleted" if the store no longer has it
	Tick       *time.Time `json:"tick,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// planOfStored returns a stored schedule.
func planOfStored(s *plainjobs.ScheduleInfo) *plan {
	return &plan{
		name: s.Name, job: s.Job, spec: s.Expression, zone: s.Zone, data: s,
		stored: &backend.Schedule{Name: s.Name, Next: s.Next, Last: s.Last, Paused: s.Paused},
	}
}

// lookAtRuns reads the last runs of a stored schedule.
func (pl *plan) lookAtRuns(ctx context.Context, q *plainjobs.Queue) error {
	for _, id := range pl.data.Runs {
		r := run{ID: id, State: "deleted"}
		info, err := q.Get(ctx, id)
		switch {
		case err == nil:
			r.State, r.Tick, r.FinishedAt = info.State.String(), some(info.Tick), some(info.FinishedAt)
		case !errors.Is(err, plainjobs.ErrNotFound):
			return err
		}
		pl.runs = append(pl.runs, r)
	}
	return nil
}

// storedNamed returns the stored schedule with a name, or nil.
func storedNamed(ctx context.Context, q *plainjobs.Queue, name string) (*plan, error) {
	all, err := q.ListSchedules(ctx, name, "", 1)
	if err != nil || len(all) == 0 || all[0].Name != name {
		return nil, err
	}
	pl := planOfStored(&all[0])
	return pl, pl.lookAtRuns(ctx, q)
}

// lastRuns prints the last runs of a stored schedule.
func (s *screen) lastRuns(pl *plan) error {
	if pl.data == nil || len(pl.runs) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	t := &table{header: []string{"JOB", "TICK", "STATE", "FINISHED"}}
	for _, r := range pl.runs {
		tick, finished := "-", "-"
		if r.Tick != nil {
			tick = r.Tick.Format(tickForm)
		}
		if r.FinishedAt != nil {
			finished = s.when(*r.FinishedAt)
		}
		t.add(r.ID, tick, r.State, finished)
	}
	return s.print(t)
}

func (p *program) backfillCommand() *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use:   "backfill NAME --from TIME [--to TIME]",
		Short: "Push a job for each past tick of a schedule",
		Long: `Backfill pushes a job for each tick of a schedule from --from on, before --to, at
most 100,000. The schedule is one that this program defines or one that is stored.
Each job has its tick. While the job of a tick waits or runs, a repeated backfill does
not push another one, unless the schedule's task has its own unique key.`,
		Example: `  backfill daily-report --from 2026-03-01 --to 2026-03-08
  backfill daily-report --from 7d`,
		Args: takes(1, 1),
	}
	c.Flags().StringVar(&from, "from", "", "the first tick is at `TIME` or later: a time, or a duration before now, e.g. 7d")
	c.Flags().StringVar(&to, "to", "0s", "all ticks are before `TIME`")
	jsonFlag(c)
	completesFirst(c, definedSchedules)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		if from == "" {
			return usage("backfill: give --from; usage: %s", c.UseLine())
		}
		first, err := ago(from, s.now)
		if err != nil {
			return err
		}
		end, err := ago(to, s.now)
		if err != nil {
			return err
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		n, err := q.Backfill(ctx, args[0], first, end)
		switch {
		case errors.Is(err, plainjobs.ErrNotFound):
			return nothing("no schedule is named %s%s", args[0], didYouMean(args[0], scheduleNames(ctx, q)))
		case err != nil:
			return err
		case s.json:
			return s.object(struct {
				Schedule string    `json:"schedule"`
				From     time.Time `json:"from"`
				To       time.Time `json:"to"`
				Stored   int       `json:"stored"`
			}{args[0], first.UTC(), end.UTC(), n})
		}
		s.say("stored %d jobs of schedule %s", n, args[0])
		return nil
	})
}
