package torture

import (
	"context"
	"fmt"
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

const goodOnes = 200

func poison(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	rounds, done, failed, crashes, wrong := 0, 0, 0, 0, 0
	for ; rounds < r.Rounds && r.more(ctx); rounds++ {
		sub, err := r.within(ctx)
		if err != nil {
			return r.result, err
		}
		n, v, err := sub.poison(ctx)
		wrong += r.take(sub, fmt.Sprint("poisoning ", rounds+1))
		sub.close()
		if err != nil {
			return r.result, err
		}
		crashes += n
		done += v.done
		failed += v.crashed
	}
	r.result.add("poisonings", rounds)
	r.result.add("done", done)
	r.result.add("failed", failed)
	r.result.add("crashes", crashes)
	r.result.must("violations", wrong)
	r.sec()
	return r.result, ctx.Err()
}

// poison lets one job kill its processes until it is failed.
func (r *rig) poison(ctx context.Context) (crashes int, v verdict, err error) {
	server, err := r.server(ctx)
	if err != nil {
		return 0, v, err
	}
	at := r.random.IntN(goodOnes)
	tasks := make([]child.Task, goodOnes+1)
	for i := range tasks {
		tasks[i] = child.Task{N: int64(i), Takes: r.between(0, 2*time.Millisecond)}
	}
	tasks[at].Do = child.ActionExit
	if err := r.push(ctx, server, tasks); err != nil {
		return 0, v, err
	}
	var worker *process
	err = r.until(ctx, "the poisoning is over", func() (bool, error) {
		if worker == nil || worker.over() {
			if worker != nil {
				crashes++
			}
			worker, err = r.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: time.Second, Grace: time.Second})
			return false, err
		}
		reply, err := server.ask(ctx, child.Command{Op: child.OpCount})
		return err == nil && unfinished(reply.Counts) == 0, err
	})
	if err != nil {
		return crashes, v, err
	}
	if err := worker.stop(ctx); err != nil {
		return crashes, v, err
	}
	f, err := r.finish(ctx, server, nil)
	if err != nil {
		return crashes, v, err
	}
	if f.done != goodOnes || f.crashed != 1 || f.failed != 0 {
		r.result.faultf("%d jobs are done, %d failed by crashes and %d otherwise", f.done, f.crashed, f.failed)
	}
	for id, j := range f.jobs {
		if j.State != "failed" {
			continue
		}
		starts := 0
		for _, run := range f.byJob[id] {
			if run.started > 0 {
				starts++
			}
		}
		// Once among others, then as often as counts: nothing runs next to it.
		if j.N != int64(at) || j.Crashes != child.MaxCrashes || crashes != child.MaxCrashes+1 || starts != crashes {
			r.result.faultf("job %d of task %d is failed after %d crashes alone, %d starts and %d crashes in all; task %d kills",
				id, j.N, j.Crashes, starts, crashes, at)
		}
	}
	return crashes, f.verdict, nil
}
