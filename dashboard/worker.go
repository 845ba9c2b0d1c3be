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
	Version    string     // of its program
	Stuck      []stuckRow // that the sender may see
	Jobs       []jobRow   // the longest running first
	MoreJobs   int64
	Names      string
	Schedules  string
	JobsTotal  int
	SchedTotal int
}

// A stuckRow is a run whose handler ignores the end of its context.
type stuckRow struct {
	ID         int64
	Href, Name string
	Stack      block
}

// stuck returns the stuck runs of a worker that the sender may see, of one job or, with an
// ID of zero, of all. Redact changes their stacks as it changes those of errors.
func (rq *request) stuck(w *plainjobs.Worker, id int64) (rows []stuckRow) {
	for _, s := range w.Stuck {
		if !rq.maySee(s.Name) || id != 0 && id != s.ID {
			continue
		}
		j := plainjobs.Info{ID: s.ID, Name: s.Name, State: plainjobs.Running, Errors: []plainjobs.RunError{{Stack: s.Stack}}}
		rq.redact(&j)
		row := stuckRow{ID: s.ID, Href: jobHref(s.ID), Name: visible(j.Name)}
		if len(j.Errors) > 0 {
			row.Stack = newBlock(j.Errors[0].Stack)
		}
		rows = append(rows, row)
	}
	return rows
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
	jobs, next, err := h.queue.List(ctx, plainjobs.Filter{States: []plainjobs.State{plainjobs.Running}}, 0, runningMost)
	return runningJobs{jobs, next != 0}, err
}

func (h *handler) workers(ctx context.Context, rq *request, _ url.Values) (any, error) {
	workers, err := h.crew.get(ctx, 0)
	if err != nil {
		return nil, err
	}
	running, err := h.running.get(ctx, 0)
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
			JobsTotal: len(w.Jobs), SchedTotal: len(w.Schedules), Version: visible(w.Version), Stuck: rq.stuck(w, 0),
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
