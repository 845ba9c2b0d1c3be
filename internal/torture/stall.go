package torture

import (
	"context"
	"time"
)

var stallTest = &Test{
	ID:     "stall",
	About:  "every worker is stopped past its lease at once and continued; no live worker may be declared dead",
	Unit:   "stalls",
	Counts: []string{"stalls", "jobs"},
	Short:  1, Full: 100,
	Mixed: true,
	Unix:  true,
	run:   stall,
}

func stall(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	err = r.stall(ctx)
	return r.result, err
}

func (r *rig) stall(ctx context.Context) error {
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
	stalls := 0
	for ; stalls < r.Rounds && r.more(ctx); stalls++ {
		// Long enough to have become steady, which is when workers judge.
		if err := k.feedFor(ctx, shortLease+r.between(0, shortLease)); err != nil {
			return err
		}
		if err := each(k.workers, (*process).freeze); err != nil {
			return err
		}
		if err := pause(ctx, shortLease+r.between(shortLease/4, shortLease)); err != nil {
			return err
		}
		if err := each(k.workers, (*process).thaw); err != nil {
			return err
		}
		if stalls%10 == 9 {
			r.progress("%d of %d stalls", stalls+1, r.Rounds)
		}
	}
	if err := k.feedFor(ctx, 2*shortLease); err != nil {
		return err
	}
	if _, _, err := r.drain(ctx, k.server, 30*time.Second); err != nil {
		return err
	}
	if err := each(k.workers, func(p *process) error { return p.stop(ctx) }); err != nil {
		return err
	}
	f, err := r.finish(ctx, k.server, nil)
	if err != nil {
		return err
	}
	r.result.add("stalls", stalls)
	r.result.add("processes", len(k.workers))
	r.result.add("jobs", len(r.acks.ids))
	f.report(&r.result)
	r.result.must("workers_reaped", int(f.reaped[0]))
	if f.leasesLost+f.repeats > 0 {
		r.result.faultf("%d leases were lost and %d runs repeated, and no process died", f.leasesLost, f.repeats)
	}
	r.integrity(f.ending)
	r.sec()
	return nil
}

// feedFor keeps the workers supplied for a while.
func (k *killing) feedFor(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := k.feed(ctx); err != nil {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
