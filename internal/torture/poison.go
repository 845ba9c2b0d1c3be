package torture

import (
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var poisonTest = &Test{
	ID:     "poison",
	About:  "one job kills its process among 200 prefetched good jobs",
	Unit:   "poisonings",
	Counts: []string{"poisonings", "done"},
	Short:  1, Full: 100,
	Mixed: true,
	run:   poison,
}

const goodJobs = 200

func poison(r *rig) {
	rounds, done, failed, crashes, wrong := 0, 0, 0, 0, 0
	for ; rounds < r.Rounds && r.more(); rounds++ {
		wrong += r.sub(fmt.Sprint("poisoning ", rounds+1), func(sub *rig) {
			n, v := sub.poison()
			crashes, done, failed = crashes+n, done+v.done, failed+v.crashed
		})
	}
	r.result.add("poisonings", rounds)
	r.result.add("done", done)
	r.result.add("failed", failed)
	r.result.add("crashes", crashes)
	r.result.must("violations", wrong)
}

// poison lets one job kill its processes until the job is failed.
func (r *rig) poison() (crashes int, v verdict) {
	server := r.server()
	at := r.random.IntN(goodJobs)
	tasks := make([]child.Task, goodJobs+1)
	for i := range tasks {
		tasks[i] = child.Task{N: int64(i), Takes: r.between(0, 2*time.Millisecond)}
	}
	tasks[at].Do = child.ActionExit
	r.push(server, tasks)
	var worker *process
	r.until("the poisoning is over", func() bool {
		if worker == nil || worker.over() {
			if worker != nil {
				crashes++
			}
			worker = r.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: time.Second, Grace: time.Second})
			return false
		}
		return unfinished(r.counts(server)) == 0
	})
	worker.stop()
	f := r.finish(server, nil)
	if f.done != goodJobs || f.crashed != 1 || f.failed != 0 {
		r.result.faultf("%d jobs are done, %d failed by crashes and %d otherwise", f.done, f.crashed, f.failed)
	}
	for id, j := range f.jobs {
		if j.State != "failed" {
			continue
		}
		// The first death makes it a suspect. Nothing starts next to a suspect, but jobs that
		// started before it may still be held when it kills: such a death does not count.
		starts, others := 0, 0
		for _, run := range f.byJob[id] {
			if run.started > 0 {
				starts++
			}
			if run.suspect && f.heldOthers(run) {
				others++
			}
		}
		if counted := crashes - 1 - others; j.N != int64(at) || starts != crashes ||
			j.Crashes != child.MaxCrashes || j.Crashes > crashes-1 || j.Crashes < counted {
			r.result.faultf("job %d of task %d is failed after %d crashes alone, %d starts and %d crashes in all, %d of them with other jobs; task %d kills",
				id, j.N, j.Crashes, starts, crashes, others, at)
		}
	}
	return crashes, f.verdict
}

// heldOthers reports whether the process of a run that ended with it held other jobs.
func (h *history) heldOthers(killer *run) bool {
	for id, runs := range h.byJob {
		if id != killer.id && slices.ContainsFunc(runs, func(r *run) bool { return r.p == killer.p && !r.accepted }) {
			return true
		}
	}
	return false
}
