package torture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var rescueTest = &Test{
	ID:     "rescue",
	About:  "a worker with a job and a lease of 30 s is killed; measured is the time until the job runs in another process",
	Unit:   "kills",
	Counts: []string{"kills", "busy_p99"},
	Short:  5, Full: 500,
	Mixed: true,
	run:   rescue,
}

// What a rescue is to take at most on a quiet machine, half of them and all but
// one of a hundred.
const (
	rescueHalf = 100 * time.Millisecond
	rescueMost = time.Second
)

// A rescuing is one run of the test. In every other round there is also work
// for the processes that live.
type rescuing struct {
	*rig
	killing *killing // what it shares with kill
	holds   chan hold
	took    [2][]time.Duration // on an idle system, and under load
	last    int64              // the job of the last kill
}

// A hold says that a process runs a job that is held.
type hold struct {
	p  *process
	id int64
	at time.Time
}

func rescue(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	s := &rescuing{
		rig: r, holds: make(chan hold, 16),
		killing: &killing{rig: r, workers: make([]*process, killProcesses)},
	}
	err = s.all(ctx)
	return r.result, err
}

func (s *rescuing) all(ctx context.Context) (err error) {
	k := s.killing
	if k.server, err = s.server(ctx); err != nil {
		return err
	}
	for i := range k.workers {
		if err := s.respawn(ctx, i); err != nil {
			return err
		}
	}
	for ; k.kills < s.Rounds && s.more(ctx); k.kills++ {
		if err := s.one(ctx); err != nil {
			return err
		}
		if k.kills%100 == 99 {
			s.progress("%d of %d kills", k.kills+1, s.Rounds)
		}
	}
	if _, _, err := s.drain(ctx, k.server, patience); err != nil {
		return err
	}
	if err := each(k.workers, func(p *process) error { return p.stop(ctx) }); err != nil {
		return err
	}
	return s.judgement(ctx)
}

// respawn starts a worker with the default lease and waits until it is there.
func (s *rescuing) respawn(ctx context.Context, i int) error {
	p, err := s.spawnOn(s.pick(), child.Order{Role: child.Work, Concurrency: killConcurrency, Grace: time.Second},
		func(p *process, r child.Reply) bool {
			if r.Holds != 0 {
				s.holds <- hold{p, r.Holds, time.Now()}
			}
			return r.Holds != 0
		})
	if err != nil {
		return err
	}
	s.killing.workers[i] = p
	return p.begun(ctx)
}

// one kills a process that runs a job and waits until another one does.
func (s *rescuing) one(ctx context.Context) error {
	k := s.killing
	busy := k.kills % 2
	if busy == 1 {
		if err := k.pushSome(ctx, 100); err != nil {
			return err
		}
	}
	if err := s.push(ctx, k.server, []child.Task{{N: k.next, Do: child.ActionHold, Priority: 9}}); err != nil {
		return err
	}
	k.next++
	// The last one may come back, if who ran it then was killed now.
	holder, err := s.held(ctx, func(id int64) bool { return id > s.last })
	if err != nil {
		return err
	}
	s.last = holder.id
	killed := time.Now()
	if err := holder.p.kill(); err != nil {
		return err
	}
	rescued, err := s.held(ctx, func(id int64) bool { return id == holder.id })
	if err != nil {
		return err
	}
	s.took[busy] = append(s.took[busy], rescued.at.Sub(killed))
	return s.respawn(ctx, slices.Index(k.workers, holder.p))
}

// held waits until a worker runs a held job.
func (s *rescuing) held(ctx context.Context, which func(id int64) bool) (hold, error) {
	limit := time.After(patience)
	for {
		select {
		case h := <-s.holds:
			if which(h.id) {
				return h, nil
			}
		case <-ctx.Done():
			return hold{}, ctx.Err()
		case <-limit:
			return hold{}, fmt.Errorf("no worker runs the job after %v", patience)
		}
	}
}

func (s *rescuing) judgement(ctx context.Context) error {
	f, err := s.finish(ctx, s.killing.server, nil)
	if err != nil {
		return err
	}
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
	s.sec()
	return nil
}

// report prints how long rescues took. The short form runs with other tests,
// so that their time says nothing there.
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

// percentile returns what so many percent of sorted values are not above.
func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)-1)*percent/100]
}
