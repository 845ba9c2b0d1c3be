package torture

import (
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var rescueTest = &Test{
	ID:     "rescue",
	About:  "a worker with a job and a lease of 30 s is killed; the time until the job runs in another process is measured",
	Unit:   "kills",
	Counts: []string{"kills", "busy_p99"},
	Short:  5, Full: 500,
	Mixed: true,
	run:   rescue,
}

// The most that a rescue may take on a quiet machine: half of them, and 99 of
// 100.
const (
	rescueHalf = 100 * time.Millisecond
	rescueMost = time.Second
)

// A rescuing is one run of the test. In every other round, the other processes
// have jobs to run.
type rescuing struct {
	*rig
	killing *killing // the parts that it shares with kill
	holds   chan hold
	took    [2][]time.Duration // on an idle system, and under load
	last    int64              // the job of the last kill
}

// A hold is a report that a process runs a held job.
type hold struct {
	p  *process
	id int64
	at time.Time
}

func rescue(r *rig) {
	s := &rescuing{
		rig: r, holds: make(chan hold, 16),
		killing: &killing{rig: r, workers: make([]*process, killProcesses)},
	}
	s.all()
}

func (s *rescuing) all() {
	k := s.killing
	k.server = s.server()
	for i := range k.workers {
		s.respawn(i)
	}
	for ; k.kills < s.Rounds && s.more(); k.kills++ {
		s.one()
		s.tell("%d of %d kills", k.kills+1, s.Rounds)
	}
	s.drain(k.server, patience)
	each(k.workers, (*process).stop)
	s.judgement()
}

// respawn starts a worker with the default lease and waits until it has begun.
func (s *rescuing) respawn(i int) {
	p := s.spawnOn(s.pick(), child.Order{Role: child.Work, Concurrency: killConcurrency, Grace: time.Second},
		func(p *process, r child.Reply) bool {
			if r.Holds != 0 {
				s.holds <- hold{p, r.Holds, time.Now()}
			}
			return r.Holds != 0
		})
	s.killing.workers[i] = p
	p.begun()
}

// one kills a process that runs a job and waits until another one does.
func (s *rescuing) one() {
	k := s.killing
	busy := k.kills % 2
	if busy == 1 {
		k.pushSome(100)
	}
	s.push(k.server, []child.Task{{N: k.next, Do: child.ActionHold, Priority: 9}})
	k.next++
	// An earlier held job may run again if its worker was the one that was
	// killed.
	holder := s.held(func(id int64) bool { return id > s.last })
	s.last = holder.id
	killed := time.Now()
	holder.p.kill()
	rescued := s.held(func(id int64) bool { return id == holder.id })
	s.took[busy] = append(s.took[busy], rescued.at.Sub(killed))
	s.respawn(slices.Index(k.workers, holder.p))
}

// held waits until a worker runs a held job for which which returns true.
func (s *rescuing) held(which func(id int64) bool) hold {
	limit := time.After(patience)
	for {
		select {
		case h := <-s.holds:
			if which(h.id) {
				return h
			}
		case <-s.ctx.Done():
			check(s.ctx.Err())
		case <-limit:
			check(fmt.Errorf("no worker runs the job after %v", patience))
		}
	}
}

func (s *rescuing) judgement() {
	f := s.finish(s.killing.server, nil)
	r := &s.result
	r.add("kills", s.killing.kills)
	r.add("jobs", len(s.acks.ids))
	f.report(r)
	f.repeatAtMost(r, f.mayRepeat(killConcurrency))
	r.add("failed_as_suspects", f.crashed)
	r.must("failed_otherwise", f.failed)
	s.killing.crashedFairly(f.history, f.ending)
	for i, how := range []string{"idle", "busy"} {
		s.report(how, s.took[i])
	}
	s.integrity(f.ending)
}

// report adds how long rescues took. The short form runs alongside other tests,
// so it sets no limit.
func (s *rescuing) report(how string, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	half, most := percentile(took, 50), percentile(took, 99)
	s.result.add(how+"_p50", half)
	s.result.add(how+"_p99", most)
	s.result.add(how+"_max", took[len(took)-1])
	if !s.Short && (half > rescueHalf || most > rescueMost) {
		s.result.faultf("rescues when %s took %v and %v, want at most %v and %v", how, half, most, rescueHalf, rescueMost)
	}
}

// percentile returns the value that so many percent of the sorted values do not
// exceed.
func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)-1)*percent/100]
}
