package torture

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var clockTest = &Test{
	ID:     "clock",
	About:  "the clock of all processes jumps by seconds, hours and days, and to 1970 and 2040",
	Unit:   "jumps",
	Counts: []string{"jumps", "jobs"},
	Short:  8, Full: 1000,
	Mixed: true,
	run:   clock,
}

func clock(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	err = r.clock(ctx)
	return r.result, err
}

func (r *rig) clock(ctx context.Context) error {
	r.offset = filepath.Join(r.dir, "offset")
	if err := child.WriteOffset(r.offset, 0); err != nil {
		return err
	}
	k := &killing{rig: r, workers: make([]*process, 3)}
	var err error
	if k.server, err = r.server(ctx); err != nil {
		return err
	}
	if err := k.feed(ctx); err != nil {
		return err
	}
	for i := range k.workers {
		if err := k.respawn(i); err != nil {
			return err
		}
	}
	if err := each(k.workers, func(p *process) error { return p.begun(ctx) }); err != nil {
		return err
	}
	jumps, now, furthest := 0, time.Duration(0), time.Duration(0)
	for ; jumps < r.Rounds && r.more(ctx); jumps++ {
		// Sometimes before anybody has become steady again.
		if err := k.feedFor(ctx, r.between(0, 2*shortLease)); err != nil {
			return err
		}
		now = r.jump(now)
		furthest = max(furthest, now)
		if err := child.WriteOffset(r.offset, now); err != nil {
			return err
		}
		if jumps%50 == 49 {
			r.progress("%d of %d jumps", jumps+1, r.Rounds)
		}
	}
	// What was put off while the clock was ahead is due when it is there
	// again: a time is a time.
	if err := child.WriteOffset(r.offset, furthest+time.Minute); err != nil {
		return err
	}
	if _, _, err := r.drain(ctx, k.server, 30*time.Second); err != nil {
		return err
	}
	if err := each(k.workers, func(p *process) error { return p.stop(ctx) }); err != nil {
		return err
	}
	// What was done before the clock went ahead was kept for long enough then.
	f, err := r.finish(ctx, k.server, byDone)
	if err != nil {
		return err
	}
	r.result.add("jumps", jumps)
	r.result.add("jobs", len(r.acks.ids))
	f.report(&r.result)
	// Each jump, and the last one back, may repeat what was running.
	bound := (jumps + 1) * len(k.workers) * killConcurrency
	f.repeatAtMost(&r.result, bound)
	r.result.add("workers_reaped", f.reaped[0])
	r.result.must("failed", f.crashed+f.failed)
	r.integrity(f.ending)
	r.sec()
	return nil
}

// jump returns what is added to the clock next.
func (r *rig) jump(now time.Duration) time.Duration {
	at := func(year int) time.Duration { return time.Until(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)) }
	jumps := []time.Duration{
		now + time.Second, now - time.Second, now + time.Hour, now - time.Hour, now + 24*time.Hour, now - 24*time.Hour,
		at(1970), at(2040), 0,
	}
	slices.Sort(jumps)
	return jumps[r.random.IntN(len(jumps))]
}
