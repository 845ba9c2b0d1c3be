package worker

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// tellFrom is how long a run takes at least whose start the store is told of. To
// store the start of each short run would cost more than the run.
const tellFrom = 100 * time.Millisecond

// maxStarted bounds what one heartbeat tells; the rest is for the next one.
const maxStarted = 1000

// toldTook returns how long a run took, or zero if that is not to be stored.
func (r *run) toldTook() time.Duration {
	if r.took < tellFrom {
		return 0
	}
	return r.took
}

// started returns the runs that are under way and that the store is to be told
// of with the next heartbeat. The caller holds mu.
func (s *session) started(now time.Time) (runs []*run, all []backend.Started) {
	for r := range s.each {
		if r.state != runRuns || r.told || len(all) == maxStarted {
			continue
		}
		if ran := now.Sub(r.ctx.Info.Began); ran >= tellFrom {
			runs = append(runs, r)
			all = append(all, backend.Started{Lease: r.job.Lease, For: ran})
		}
	}
	return runs, all
}
