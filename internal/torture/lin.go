package torture

import (
	"github.com/plainjobs/plainjobs/internal/torture/child"
	"github.com/plainjobs/plainjobs/internal/torture/lin"
)

var linTest = &Test{
	ID:     "lin",
	About:  "the history of calls by clients that are late, repeat calls, or die must be linearizable, with and without errors",
	Unit:   "operations with errors about, and as many without",
	Counts: []string{"ops", "jobs"},
	Short:  3000,
	Full:   1_000_000,
	Memory: true,
	run:    linearizable,
}

func linearizable(r *rig) {
	var report *lin.Report
	r.runAlone(child.Order{Role: child.Lin, Rounds: r.Rounds}, func(reply child.Reply) {
		if report = reply.Lin; report == nil {
			r.progress("%d of %d operations", reply.N, r.Rounds)
		}
	})
	if report == nil {
		return
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
}
