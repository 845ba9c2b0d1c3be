package torture

import (
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

func clock(r *rig) {
	r.offset = filepath.Join(r.dir, "offset")
	check(child.WriteOffset(r.offset, 0))
	k := &killing{rig: r, workers: make([]*process, 3)}
	k.start()
	each(k.workers, (*process).begun)
	jumps, now, furthest := 0, time.Duration(0), time.Duration(0)
	for ; jumps < r.Rounds && r.more(); jumps++ {
		// Sometimes the clock jumps before any worker is stable again.
		k.feedFor(r.between(0, 2*shortLease))
		now = r.jump(now)
		furthest = max(furthest, now)
		check(child.WriteOffset(r.offset, now))
		r.tell("%d of %d jumps", jumps+1, r.Rounds)
	}
	// A job that was delayed while the clock was ahead becomes due when the
	// clock reaches that time again.
	check(child.WriteOffset(r.offset, furthest+time.Minute))
	r.drain(k.server, 30*time.Second)
	each(k.workers, (*process).stop)
	// Jobs that were done before a jump ahead may have outlived their
	// retention.
	f := r.finish(k.server, byDone)
	r.result.add("jumps", jumps)
	r.result.add("jobs", len(r.acks.ids))
	f.report(&r.result)
	// Each jump, and the last one back, may repeat the running jobs.
	bound := (jumps + 1) * len(k.workers) * killConcurrency
	f.repeatAtMost(&r.result, bound)
	r.result.add("workers_reaped", f.reaped[0])
	r.result.must("failed", f.crashed+f.failed)
	r.integrity(f.ending)
}

// jump returns the next offset of the clock.
func (r *rig) jump(now time.Duration) time.Duration {
	at := func(year int) time.Duration { return time.Until(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)) }
	jumps := []time.Duration{
		now + time.Second, now - time.Second, now + time.Hour, now - time.Hour, now + 24*time.Hour, now - 24*time.Hour,
		at(1970), at(2040), 0,
	}
	slices.Sort(jumps)
	return jumps[r.random.IntN(len(jumps))]
}
