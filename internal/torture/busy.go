package torture

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var busyTest = &Test{
	ID:     "busy",
	About:  "32 processes share one file, and one of them holds the write lock for 20 s",
	Unit:   "storms",
	Counts: []string{"storms", "done"},
	Short:  1, Full: 5,
	Mixed: true,
	run:   busy,
}

// ownLimit is the shortest time limit of a call: a third of the default lease,
// or 10 s without a deadline. A call that fails earlier has returned "busy" to
// its caller.
const ownLimit = 9500 * time.Millisecond

func busy(r *rig) {
	processes, jobs, hold := 32, 4000, 20*time.Second
	if r.Short {
		processes, jobs, hold = 4, 300, 2*time.Second
	}
	s := &storm{rig: r, processes: processes, jobs: jobs, hold: hold}
	for s.storms = 0; s.storms < r.Rounds && r.more(); s.storms++ {
		r.sub(fmt.Sprint("storm ", s.storms+1), s.one)
		r.progress("%d of %d storms", s.storms+1, r.Rounds)
	}
	check(r.ctx.Err())
	s.report()
}

// A storm is one run of the test: many processes contend for the write lock.
type storm struct {
	*rig
	processes, jobs, storms int
	hold                    time.Duration

	done, surfaced, limits, reaped int
	sum                            verdict
	gaps                           []time.Duration
}

func (s *storm) one(r *rig) {
	server := r.server()
	locker := r.server()
	tasks := make([]child.Task, s.jobs)
	for i := range tasks {
		tasks[i] = child.Task{N: int64(i), Takes: r.between(10*time.Millisecond, 200*time.Millisecond)}
	}
	for part := range slices.Chunk(tasks, 500) {
		r.push(server, part)
	}
	workers := make([]*process, s.processes)
	for i := range workers { // with the default lease, which the test is about
		workers[i] = r.spawn(child.Order{Role: child.Work, Concurrency: 2, Grace: time.Second})
	}
	each(workers, (*process).begun)
	if reply := locker.ask(child.Command{Op: child.OpLock, For: s.hold}); !reply.Locked {
		check(fmt.Errorf("lock: %+v", reply))
	}
	must(locker.reply(s.hold + patience))
	r.drain(server, 60*time.Second)
	each(append(workers, locker), (*process).stop)
	s.add(r.finish(server, nil))
}

// add adds the results of one storm.
func (s *storm) add(f finish) {
	s.done += f.done
	s.sum.add(f.verdict)
	s.reaped += int(f.reaped[0])
	for _, t := range f.callErrors {
		if time.Duration(t.took)*time.Microsecond < ownLimit {
			s.surfaced++
			s.result.faultf("child %d (%s): %s", t.p.number, t.p.driver, t.text)
		} else {
			s.limits++
		}
	}
	claims := map[*process][]int64{}
	for _, run := range f.runs {
		claims[run.p] = append(claims[run.p], run.claimed)
	}
	for _, times := range claims {
		slices.Sort(times)
		times = slices.Compact(times)
		for i := range times[1:] {
			s.gaps = append(s.gaps, time.Duration(times[i+1]-times[i])*time.Microsecond)
		}
	}
	slices.SortFunc(s.gaps, cmp.Compare[time.Duration])
}

func (s *storm) report() {
	r := &s.result
	r.add("storms", s.storms)
	r.add("processes", s.processes)
	r.add("held", s.hold)
	r.add("done", s.done)
	s.sum.report(r)
	r.must("surfaced_busy", s.surfaced)
	r.add("own_time_limits", s.limits)
	r.must("workers_reaped", s.reaped)
	if s.sum.leasesLost > 0 {
		r.faultf("%d leases were lost", s.sum.leasesLost)
	}
	if n := len(s.gaps); n > 0 {
		r.add("claim_gap_p50", percentile(s.gaps, 50))
		r.add("claim_gap_p99", percentile(s.gaps, 99))
		r.add("claim_gap_max", s.gaps[n-1])
	}
}
