package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) listCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the jobs and schedules that this program defines",
		Long: `List lists the jobs and schedules of the packages that the program imports. It shows
each job's type, whether the job has a handler, where it is defined, and each
schedule's next tick.`,
		Example: `  list
  list --json`,
		Args: takes(0, 0),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		q, done, err := p.setUp(readOnly(ctx))
		if err != nil {
			return err
		}
		defer done()
		if len(engine.Definitions()) == 0 {
			return nothing("this program defines no jobs: import the packages that define them")
		}
		return s.list(q)
	})
}

type definitionRecord struct {
	Kind    string   `json:"kind"` // job or schedule
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	Type    string   `json:"type,omitempty"`
	Bound   *bool    `json:"bound,omitempty"`
	When    string   `json:"when,omitempty"`
	Zone    string   `json:"zone,omitempty"`
	Job     string   `json:"job,omitempty"`
	Where   string   `json:"where"`
}

func (s *screen) list(q *plainjobs.Queue) error {
	jobs := &table{header: []string{"JOB", "TYPE", "HANDLER", "DEFINED AT"}}
	for _, d := range engine.Definitions() {
		bound := (*engine.Handle)(q).Queue().Handler(d) != nil
		if s.json {
			r := definitionRecord{Kind: "job", Name: d.Name, Aliases: d.Aliases, Type: d.Type.String(), Bound: &bound, Where: place(d.Where)}
			if err := s.object(r); err != nil {
				return err
			}
			continue
		}
		handler := cell{"yes", normal}
		if !bound {
			handler = cell{"missing", red}
		}
		jobs.add(strings.Join(append([]string{d.Name}, d.Aliases...), ", "), d.Type, handler, place(d.Where))
	}
	schedules := &table{header: []string{"SCHEDULE", "WHEN", "NEXT", "DEFINED AT"}}
	for _, d := range (*engine.Handle)(q).Queue().Schedules() {
		if s.json {
			r := definitionRecord{Kind: "schedule", Name: d.Name, When: d.Spec, Zone: d.Zone, Job: d.Job.Name, Where: place(d.Where)}
			if err := s.object(r); err != nil {
				return err
			}
			continue
		}
		schedules.add(d.Name, d.Spec, strings.TrimPrefix(nextTick(d, s.now), "next "), place(d.Where))
	}
	if s.json {
		return nil
	}
	if err := s.print(jobs); err != nil || len(schedules.rows) == 0 {
		return err
	}
	fmt.Fprintln(s.out)
	return s.print(schedules)
}

// place returns file:line, relative to the working directory if the file is below it.
func place(where string) string {
	dir, err := os.Getwd()
	if err != nil {
		return where
	}
	if rel, err := filepath.Rel(dir, where); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return where
}
