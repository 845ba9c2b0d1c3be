package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// workers adds dead workers, stuck handlers, pauses, and waiting jobs that no worker runs.
func (r *Report) workers(ctx context.Context, q *plainjobs.Queue) error {
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
		r.Bad("workers", fix, "%s, pid %d, %s", w.Host, w.PID, what)
	}
	for _, w := range workers {
		for _, s := range w.Stuck {
			r.Bad("workers", "let the handler return when ctx.Done() is closed, and restart that process",
				"%s, pid %d: the handler of %s #%d still runs although its context has ended", w.Host, w.PID, s.Name, s.ID)
		}
	}
	r.Well("workers", "%d alive", alive)
	paused, err := pausesOf(ctx, q)
	if err != nil {
		return err
	}
	counts, err := q.Counts(ctx)
	if err != nil {
		return err
	}
	if paused[""] {
		r.Bad("pauses", "resume --all", "the whole queue is paused")
	}
	r.waiting(counts, paused, known)
	sum := map[plainjobs.State]int64{}
	for _, c := range counts {
		sum[c.State] += c.Jobs
	}
	r.Well("jobs", "%d waiting, %d running, %d failed",
		sum[plainjobs.Pending]+sum[plainjobs.Blocked]+sum[plainjobs.Scheduled], sum[plainjobs.Running], sum[plainjobs.Failed])
	return nil
}

// waiting adds names with pending jobs that are paused or that no worker knows, the names
// with the most failed jobs first.
func (r *Report) waiting(counts []plainjobs.Count, paused, known map[string]bool) {
	pending, failed := map[string]int64{}, map[string]int64{}
	for _, c := range counts {
		switch c.State {
		case plainjobs.Pending:
			pending[c.Name] = c.Jobs
		case plainjobs.Failed:
			failed[c.Name] = c.Jobs
		}
	}
	names := slices.SortedFunc(maps.Keys(pending), func(a, b string) int {
		if failed[a] != failed[b] {
			return int(max(-1, min(1, failed[b]-failed[a])))
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		switch {
		case paused[name]:
			r.Bad("pauses", "resume "+name, "%s is paused, with %d pending", name, pending[name])
		case !known[name]:
			r.Bad("workers", "start a worker of a program that defines it", "%s: %d pending, and no live worker runs this job", name, pending[name])
		}
	}
}

// pausesOf returns the paused names. The empty one is the whole queue.
func pausesOf(ctx context.Context, q *plainjobs.Queue) (map[string]bool, error) {
	names, err := q.Names(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	paused := map[string]bool{}
	for _, n := range names {
		paused[n.Name] = n.Paused
	}
	return paused, err
}

const envVariable = "PLAINJOBS_ENV"

// environment adds whether workers with this process's environment run jobs.
func (r *Report) environment(ctx context.Context, q *plainjobs.Queue) error {
	store, ok := storeOf(q).(backend.SettingsStore)
	if !ok {
		return nil
	}
	mine := os.Getenv(envVariable)
	home, err := store.Environment(ctx)
	switch {
	case err != nil || home == "" && mine == "":
	case home == "" || home == mine:
		r.Well("environment", "%s", mine)
	default:
		r.Bad("environment", fmt.Sprintf("set %s=%s; to work on a copy deliberately, run env VALUE or env --forget", envVariable, home),
			"the database belongs to %s, but %s is %q: workers of this process are paused", home, envVariable, mine)
	}
	return err
}
