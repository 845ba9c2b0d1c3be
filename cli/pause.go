package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) pauseCommand() *cobra.Command {
	return p.pauseOrResumeCommand(true, &cobra.Command{
		Use:   "pause NAME | --all | --schedule NAME",
		Short: "Pause a job, all jobs or a schedule, in all processes",
		Long: `Pause stops jobs of a name from starting, or all jobs, or stops a schedule from
pushing jobs. It applies to all processes until resume. Running jobs continue.`,
		Example: `  pause invoice
  pause --all
  pause --schedule daily-report`,
	})
}

func (p *program) resumeCommand() *cobra.Command {
	return p.pauseOrResumeCommand(false, &cobra.Command{
		Use:   "resume NAME | --all | --schedule NAME",
		Short: "End a pause",
		Long: `Resume ends a pause. A pause of all jobs and a pause of one name are independent:
resume each of them.`,
		Example: `  resume invoice
  resume --all
  resume --schedule daily-report`,
	})
}

func (p *program) pauseOrResumeCommand(pause bool, c *cobra.Command) *cobra.Command {
	var all bool
	var schedule string
	c.Args = takes(0, 1)
	c.Flags().BoolVar(&all, "all", false, "jobs of all names")
	c.Flags().StringVar(&schedule, "schedule", "", "the schedule named `NAME`, instead of jobs")
	jsonFlag(c)
	completesFirst(c, p.names)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		if chosen := len(args) + count(all) + count(schedule != ""); chosen != 1 {
			return usage("%s: give exactly one of NAME, --all and --schedule; usage: %s", c.Name(), c.UseLine())
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		past := map[bool]string{true: "paused", false: "resumed"}[pause]
		made := pauseRecord{Schedule: schedule, All: all, Paused: pause}
		switch {
		case schedule != "":
			err = q.PauseSchedule(ctx, schedule, pause)
			if errors.Is(err, plainjobs.ErrNotFound) {
				return nothing("no schedule is stored under the name %s%s", schedule, didYouMean(schedule, scheduleNames(ctx, q)))
			}
			past += " schedule " + schedule
		case all:
			err = setPaused(ctx, q, "", pause)
			past += " all jobs"
		default:
			names, e := known(ctx, q)
			if e != nil {
				return e
			}
			name := args[0]
			if !names[name] && engine.Lookup(name) == nil {
				return nothing("no job is named %s%s", name, didYouMean(name, keys(names)))
			}
			err = setPaused(ctx, q, name, pause)
			made.Name = name
			past += " jobs named " + name
		}
		switch {
		case err != nil:
			return err
		case s.json:
			return s.object(made)
		}
		s.say("%s", past)
		return nil
	})
}

// pauseRecord is the output of pause and resume with --json.
type pauseRecord struct {
	Name     string `json:"name,omitempty"`
	Schedule string `json:"schedule,omitempty"`
	All      bool   `json:"all,omitempty"`
	Paused   bool   `json:"paused"`
}

func setPaused(ctx context.Context, q *plainjobs.Queue, name string, pause bool) error {
	if pause {
		return q.Pause(ctx, name)
	}
	return q.Resume(ctx, name)
}

func scheduleNames(ctx context.Context, q *plainjobs.Queue) (names []string) {
	all, _ := q.Schedules(ctx) // a suggestion is optional
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
