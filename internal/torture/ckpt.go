package torture

import (
	"context"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var ckptTest = &Test{
	ID:     "ckpt",
	About:  "processes push and work while others loop over wal_checkpoint(TRUNCATE/RESTART/PASSIVE)",
	Unit:   "databases, each for ten seconds",
	Counts: []string{"databases", "jobs"},
	Short:  1, Full: 180,
	Mixed: true,
	run:   ckpt,
}

// A checkpointing is one run of the test.
type checkpointing struct {
	*rig
	databases, jobs, calls int
	checkpoints, frames    int64
	sum                    verdict
	broken, surfaced       int
}

func ckpt(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	k := &checkpointing{rig: r}
	for ; k.databases < r.Rounds && r.more(ctx); k.databases++ {
		if err := k.one(ctx); err != nil {
			return r.result, err
		}
		if k.databases%5 == 4 {
			r.progress("%d of %d databases", k.databases+1, r.Rounds)
		}
	}
	r.result.add("databases", k.databases)
	r.result.add("jobs", k.jobs)
	r.result.add("calls", k.calls)
	r.result.add("checkpoints", k.checkpoints)
	r.result.add("pages_moved", k.frames)
	k.sum.report(&r.result)
	r.result.must("surfaced", k.surfaced)
	r.result.must("integrity_broken", k.broken)
	r.sec()
	return r.result, ctx.Err()
}

func (k *checkpointing) one(ctx context.Context) error {
	r, err := k.within(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	duration := 10 * time.Second
	if k.Short {
		duration = 3 * time.Second
	}
	server, err := r.server(ctx)
	if err != nil {
		return err
	}
	// The tables are there before the raw connections are.
	if err := r.push(ctx, server, []child.Task{{N: 0}}); err != nil {
		return err
	}
	var workers, pushers, checkpointers []*process
	for i := range 2 {
		w, err := r.spawn(child.Order{Role: child.Work, Concurrency: 4, Grace: time.Second})
		if err != nil {
			return err
		}
		p, err := r.spawn(child.Order{Role: child.Push, First: int64(i+1) * numbersEach, Pause: 10 * time.Millisecond})
		if err != nil {
			return err
		}
		c, err := r.server(ctx)
		if err != nil {
			return err
		}
		workers, pushers, checkpointers = append(workers, w), append(pushers, p), append(checkpointers, c)
	}
	if err := each(append(workers, pushers...), func(p *process) error { return p.begun(ctx) }); err != nil {
		return err
	}
	modes := []string{"TRUNCATE", "RESTART", "PASSIVE"}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		for _, c := range checkpointers { // both at once, each in some mode
			mode := modes[r.random.IntN(len(modes))]
			if err := c.orders.Encode(child.Command{Op: child.OpCheckpoint, Mode: mode, For: r.between(50*time.Millisecond, 500*time.Millisecond)}); err != nil {
				return err
			}
		}
		for _, c := range checkpointers {
			reply, err := c.reply(ctx, patience)
			if err != nil {
				return err
			}
			k.checkpoints += reply.N
			k.frames += reply.Frames
		}
	}
	if err := each(append(pushers, checkpointers...), func(p *process) error { return p.stop(ctx) }); err != nil {
		return err
	}
	if _, _, err := r.drain(ctx, server, 30*time.Second); err != nil {
		return err
	}
	if err := each(workers, func(p *process) error { return p.stop(ctx) }); err != nil {
		return err
	}
	f, err := r.finish(ctx, server, nil)
	if err != nil {
		return err
	}
	k.count(r, f)
	k.take(r, fmt.Sprint("database ", k.databases+1))
	return nil
}

// count adds up what one database came to. What happens at one microsecond in
// one process was one call.
func (k *checkpointing) count(r *rig, f finish) {
	k.jobs += len(r.acks.ids)
	k.sum.add(f.verdict)
	if !f.ok {
		k.broken++
	}
	type call struct {
		p  *process
		at int64
	}
	calls := map[call]bool{}
	for _, run := range f.runs {
		calls[call{run.p, run.claimed}] = true
		calls[call{run.p, run.settles}] = true
	}
	k.calls += len(calls) + r.acks.calls
	for _, t := range f.troubles {
		k.surfaced++
		k.result.faultf("child %d (%s) saw: %s", t.p.number, t.p.driver, t.text)
	}
}
