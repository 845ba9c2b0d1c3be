package torture

import (
	"context"

	"github.com/plainjobs/plainjobs/internal/torture/child"
	"github.com/plainjobs/plainjobs/internal/torture/lin"
)

var linTest = &Test{
	ID:     "lin",
	About:  "clients that are late, repeat calls and die record a history, which must be linearizable, with and without errors",
	Unit:   "operations with errors about, and as many without",
	Counts: []string{"ops", "jobs"},
	Short:  3000,
	Full:   1_000_000,
	Memory: true,
	run:    linearizable,
}

func linearizable(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	var report *lin.Report
	err = r.runAlone(ctx, child.Order{Role: child.Lin, Rounds: r.Rounds}, func(reply child.Reply) {
		report = reply.Lin
		if report != nil {
			return
		}
		r.progress("%d of %d operations", reply.N, r.Rounds)
	})
	if err != nil || report == nil {
		return r.result, err
	}
	r.result.add("ops", report.Ops)
	r.result.add("with_errors", report.Broken)
	r.result.add("jobs", report.Jobs)
	r.result.add("unknown", report.Unknown)
	r.result.add("leases_lost", report.Lost)
	r.result.add("workers_reaped", report.Reaped)
	r.result.must("illegal", report.Illegal)
	r.result.must("undecided", report.Undecided)
	r.result.must("reaped_early", report.Early)
	r.result.must("empty_claims", report.Empty)
	for _, f := range report.Faults {
		r.result.faultf("%s", f)
	}
	r.sec()
	return r.result, nil
}

// runAlone has a child do what it does by itself, and hears what it says.
func (r *rig) runAlone(ctx context.Context, o child.Order, hear func(child.Reply)) error {
	o.Until = r.end
	p, err := r.spawn(o)
	if err != nil {
		return err
	}
	if err := p.begun(ctx); err != nil {
		return err
	}
	for {
		select {
		case reply, ok := <-p.replies:
			if !ok {
				return p.end(ctx)
			}
			hear(reply)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
