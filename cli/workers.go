package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

func (p *program) workersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "workers [flags]",
		Short: "List the workers of all processes",
		Long: `Workers lists the registered workers. Each lane of a worker has a line. A worker that has sent no heartbeat for its lease
is "silent". A worker on this host whose process has exited is "ended". Other workers
rescue the jobs of both. VERSION is of its program, if the build has one. STUCK is the
number of handlers that go on although their contexts have ended; --json shows their
stacks.`,
		Example: `  workers
  workers --json`,
		Args: takes(0, 0),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		workers, err := q.Workers(ctx)
		if err != nil {
			return err
		}
		if s.json {
			for _, w := range workers {
				if err := s.object(workerJSON(w)); err != nil {
					return err
				}
			}
			return nil
		}
		if len(workers) == 0 {
			return nothing("no worker is registered: start one with the command work")
		}
		return s.print(s.workers(workers))
	})
}

func (s *screen) workers(workers []plainjobs.Worker) *table {
	t := &table{header: []string{"HOST", "PID", "STATE", "RUNNING", "STARTED", "HEARTBEAT"}}
	versions := slices.ContainsFunc(workers, func(w plainjobs.Worker) bool { return w.Version != "" })
	stuck := slices.ContainsFunc(workers, func(w plainjobs.Worker) bool { return len(w.Stuck) > 0 })
	if versions {
		t.header = append(t.header, "VERSION")
	}
	if stuck {
		t.header = append(t.header, "STUCK")
	}
	t.header = append(t.header, "JOBS")
	for _, w := range workers {
		state := cell{"alive", green}
		switch {
		case w.Ended:
			state = cell{"ended", red}
		case !w.Alive:
			state = cell{"silent", red}
		}
		row := []any{w.Host, w.PID, state, w.Running, s.when(w.StartedAt), s.when(w.SeenAt)}
		if versions {
			row = append(row, w.Version)
		}
		if stuck {
			row = append(row, len(w.Stuck))
		}
		t.add(append(row, cut(strings.Join(w.Jobs, " "), 60))...)
	}
	return t
}

type workerRecord struct {
	ID        string    `json:"id"` // a string: a JavaScript number has fewer digits
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	Alive     bool      `json:"alive"`
	Ended     bool      `json:"ended"`
	Running   int64     `json:"running"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"`
	Lease     float64   `json:"lease_seconds"`
	Jobs      []string  `json:"jobs"`
	Schedules []string  `json:"schedules"`
	Version   string    `json:"version,omitempty"`
	Stuck     []stuck   `json:"stuck,omitempty"`
}

type stuck struct {
	ID    int64  `json:"id"` // of the job
	Name  string `json:"name"`
	Stack string `json:"stack"`
}

func workerJSON(w plainjobs.Worker) workerRecord {
	r := workerRecord{
		ID: fmt.Sprint(w.ID), Host: w.Host, PID: w.PID, Alive: w.Alive, Ended: w.Ended, Running: w.Running, StartedAt: w.StartedAt,
		SeenAt: w.SeenAt, Lease: w.Lease.Seconds(), Jobs: w.Jobs, Schedules: w.Schedules, Version: w.Version,
	}
	for _, one := range w.Stuck {
		r.Stuck = append(r.Stuck, stuck(one))
	}
	return r
}
