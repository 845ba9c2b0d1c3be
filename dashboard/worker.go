package dashboard

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs"
)

// workersPage is the list of workers, with the jobs that each holds.
type workersPage struct {
	Workers []workerRow
	Alive   int
	More    bool // there are more running jobs than shown
}

type workerRow struct {
	Host       string
	PID        int
	State      string // alive, silent or ended
	Running    int64
	Started    moment
	Heartbeat  moment
	Lease      string
	Jobs       []jobRow // the longest running first
	MoreJobs   int64
	Names      string
	Schedules  string
	JobsTotal  int
	SchedTotal int
}

const (
	// runningMost is how many running jobs the page reads, and heldMost how many it shows
	// of one worker.
	runningMost = 1000
	heldMost    = 10
)

// runningJobs are the newest running jobs.
type runningJobs struct {
	jobs []plainjobs.Info
	more bool
}

func (h *handler) readRunning(ctx context.Context) (runningJobs, error) {
	jobs, next, err := h.queue.List(ctx, plainjobs.Filter{State: plainjobs.Running}, 0, runningMost)
	return runningJobs{jobs, next != 0}, err
}

func (h *handler) workers(ctx context.Context, rq *request, _ url.Values) (any, error) {
	workers, err := h.crew.get(ctx)
	if err != nil {
		return nil, err
	}
	running, err := h.running.get(ctx)
	if err != nil {
		return nil, err
	}
	held := map[int64][]plainjobs.Info{}
	for _, j := range slices.Backward(running.jobs) { // the oldest first
		if rq.maySee(j.Name) {
			rq.redact(&j)
			held[j.Worker] = append(held[j.Worker], j)
		}
	}
	p := &workersPage{More: running.more}
	for i := range workers {
		w := &workers[i]
		row := workerRow{
			Host: visible(w.Host), PID: w.PID, State: "alive", Running: w.Running, Started: rq.ago(w.StartedAt), Heartbeat: rq.ago(w.SeenAt),
			Lease: short(w.Lease), Names: visible(strings.Join(w.Jobs, ", ")), Schedules: visible(strings.Join(w.Schedules, ", ")),
			JobsTotal: len(w.Jobs), SchedTotal: len(w.Schedules),
		}
		switch {
		case w.Ended:
			row.State = "ended"
		case !w.Alive:
			row.State = "silent"
		default:
			p.Alive++
		}
		for i := range held[w.ID] {
			if len(row.Jobs) < heldMost {
				row.Jobs = append(row.Jobs, rq.row(&held[w.ID][i]))
			}
		}
		row.MoreJobs = max(0, w.Running-int64(len(row.Jobs)))
		p.Workers = append(p.Workers, row)
	}
	return p, nil
}
