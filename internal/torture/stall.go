package torture

import (
	"time"
)

var stallTest = &Test{
	ID:     "stall",
	About:  "all workers are stopped at the same time, for longer than their lease, and continued; no live worker may be declared dead",
	Unit:   "stalls",
	Counts: []string{"stalls", "jobs"},
	Short:  1, Full: 100,
	Mixed: true,
	Unix:  true,
	run:   stall,
}

func stall(r *rig) {
	k := &killing{rig: r, workers: make([]*process, 3)}
	k.start()
	each(k.workers, (*process).begun)
	stalls := 0
	for ; stalls < r.Rounds && r.more(); stalls++ {
		// Long enough for the workers to be stable, which is when they judge
		// others.
		k.feedFor(shortLease + r.between(0, shortLease))
		each(k.workers, (*process).freeze)
		r.pause(shortLease + r.between(shortLease/4, shortLease))
		each(k.workers, (*process).thaw)
		r.tell("%d of %d stalls", stalls+1, r.Rounds)
	}
	k.feedFor(2 * shortLease)
	r.drain(k.server, 30*time.Second)
	each(k.workers, (*process).stop)
	f := r.finish(k.server, nil)
	r.result.add("stalls", stalls)
	r.result.add("processes", len(k.workers))
	r.result.add("jobs", len(r.acks.ids))
	f.report(&r.result)
	r.result.must("workers_reaped", int(f.reaped[0]))
	if f.leasesLost+f.repeats > 0 {
		r.result.faultf("%d leases were lost and %d runs repeated, and no process died", f.leasesLost, f.repeats)
	}
	r.integrity(f.ending)
}

// feedFor keeps the workers supplied for a while.
func (k *killing) feedFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		k.feed()
		k.pause(100 * time.Millisecond)
	}
}
