package torture

import (
	"cmp"
	"context"
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

// ownLimit is the shortest time after which a call gives up by its own rules:
// a third of the default lease, or 10 s without a deadline. A call that gives up
// earlier has shown its caller that the file was busy.
const ownLimit = 9500 * time.Millisecond

func busy(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	processes, jobs, hold := 32, 4000, 20*time.Second
	if c.Short {
		processes, jobs, hold = 4, 300, 2*time.Second
	}
	s := &storm{rig: r, processes: processes, jobs: jobs, hold: hold}
	for s.storms = 0; s.storms < r.Rounds && r.more(ctx); s.storms++ {
		if err := s.one(ctx); err != nil {
			return r.result, err
		}
		r.progress("%d of %d storms", s.storms+1, r.Rounds)
	}
	if ctx.Err() != nil {
		return r.result, ctx.Err()
	}
	s.report()
	return r.result, nil
}

// A storm is many processes that want the lock.
type storm struct {
	*rig
	processes, jobs, storms int
	hold                    time.Duration

	done, surfaced, limits, reaped int
	sum                            verdict
	gaps                           []time.Duration
}

func (s *storm) one(ctx context.Context) error {
	r, err := s.within(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	server, err := r.server(ctx)
	if err != nil {
		return err
	}
	locker, err := r.server(ctx)
	if err != nil {
		return err
	}
	tasks := make([]child.Task, s.jobs)
	for i := range tasks {
		tasks[i] = child.Task{N: int64(i), Takes: r.between(10*time.Millisecond, 200*time.Millisecond)}
	}
	for part := range slices.Chunk(tasks, 500) {
		if err := r.push(ctx, server, part); err != nil {
			return err
		}
	}
	workers := make([]*process, s.processes)
	for i := range workers { // the default lease is what is tested
		if workers[i], err = r.spawn(child.Order{Role: child.Work, Concurrency: 2, Grace: time.Second}); err != nil {
			return err
		}
	}
	if err := each(workers, func(p *process) error { return p.begun(ctx) }); err != nil {
		return err
	}
	if reply, err := locker.ask(ctx, child.Command{Op: child.OpLock, For: s.hold}); err != nil || !reply.Locked {
		return fmt.Errorf("lock: %+v, %w", reply, err)
	}
	if _, err := locker.reply(ctx, s.hold+patience); err != nil {
		return err
	}
	if _, _, err := r.drain(ctx, server, 60*time.Second); err != nil {
		return err
	}
	if err := each(append(workers, locker), func(p *process) error { return p.stop(ctx) }); err != nil {
		return err
	}
	f, err := r.finish(ctx, server, nil)
	if err != nil {
		return err
	}
	s.add(f)
	s.take(r, fmt.Sprint("storm ", s.storms+1))
	return nil
}

// add sums up what a storm came to.
func (s *storm) add(f finish) {
	s.done += f.done
	s.sum.add(f.verdict)
	s.reaped += int(f.reaped[0])
	for _, t := range f.troubles {
		if time.Duration(t.took)*time.Microsecond < ownLimit {
			s.surfaced++
			s.result.faultf("child %d (%s) saw: %s", t.p.number, t.p.driver, t.text)
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
	s.sec()
}
