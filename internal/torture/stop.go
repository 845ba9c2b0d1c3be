package torture

import (
	"context"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var stopTest = &Test{
	ID:     "stop",
	About:  "SIGTERM arrives at random moments, and sometimes a second one; released jobs must cost no attempt",
	Unit:   "stops",
	Counts: []string{"stops"},
	Short:  12, Full: 1000,
	Mixed: true,
	Unix:  true,
	run:   stop,
}

const (
	// late is by how much a stop may exceed the grace before it is counted,
	// tooLate before it is a fault: a busy machine starves processes too.
	late    = 250 * time.Millisecond
	tooLate = 2 * time.Second
)

// A stopping is one run of the test.
type stopping struct {
	*killing
	grace         time.Duration
	stops, second int
	late, left    int
	longest       time.Duration
	dirty         bool // a process was killed instead of stopped
}

func stop(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	s := &stopping{killing: &killing{rig: r}, grace: time.Second}
	if c.Short {
		s.grace = 200 * time.Millisecond
	}
	err = s.all(ctx)
	return r.result, err
}

func (s *stopping) all(ctx context.Context) (err error) {
	if s.server, err = s.rig.server(ctx); err != nil {
		return err
	}
	for s.stops+s.second < s.Rounds && s.more(ctx) {
		enough, err := s.supplied(ctx, 200)
		if err == nil && !enough {
			err = s.pushSome(ctx, 40)
		}
		if err != nil {
			return err
		}
		if err := s.one(ctx, s.random.IntN(4) == 0); err != nil {
			return err
		}
		if n := s.stops + s.second; n%50 == 0 {
			s.progress("%d of %d stops", n, s.Rounds)
		}
	}
	worker, err := s.worker()
	if err != nil {
		return err
	}
	if _, _, err := s.drain(ctx, s.server, 30*time.Second); err != nil {
		return err
	}
	if err := worker.stop(ctx); err != nil {
		return err
	}
	f, err := s.finish(ctx, s.server, nil)
	if err != nil {
		return err
	}
	back := 0
	for _, run := range f.runs {
		if run.handedBack() {
			back++
		}
	}
	r := &s.result
	r.add("stops", s.stops)
	r.add("second_signals", s.second)
	r.add("grace", s.grace)
	r.add("handed_back", back)
	f.report(r)
	r.must("left_running", s.left)
	r.add("late", s.late)
	r.add("longest", s.longest)
	s.integrity(f.ending)
	s.sec()
	return nil
}

func (s *stopping) worker() (*process, error) {
	return s.spawn(child.Order{Role: child.Work, Concurrency: 8, Lease: shortLease, Grace: s.grace})
}

// pushSome pushes tasks of which many outlast the grace.
func (s *stopping) pushSome(ctx context.Context, n int) error {
	tasks := make([]child.Task, n)
	for i := range tasks {
		tasks[i] = child.Task{N: s.next}
		switch s.random.IntN(4) {
		case 0:
			tasks[i].Takes = s.between(0, 3*s.grace)
		case 1:
			tasks[i].Fails = 1
		}
		s.next++
	}
	return s.push(ctx, s.server, tasks)
}

// one starts a worker and stops it at some moment.
func (s *stopping) one(ctx context.Context, twice bool) error {
	p, err := s.worker()
	if err != nil {
		return err
	}
	// After this it heeds the signal; before, it dies of it.
	if err := p.begun(ctx); err != nil {
		return err
	}
	if err := pause(ctx, s.between(0, 300*time.Millisecond)); err != nil {
		return err
	}
	began := time.Now()
	if err := p.signal(sigTerm); err != nil {
		return err
	}
	if twice {
		if err := pause(ctx, s.between(0, s.grace)); err != nil {
			return err
		}
		again := time.Now()
		p.mu.Lock()
		p.kills = true
		p.mu.Unlock()
		if err := p.signal(sigTerm); err != nil {
			return err
		}
		return s.twice(ctx, p, again)
	}
	if err := p.end(ctx); err != nil {
		s.result.faultf("%v", err)
	}
	s.stops++
	took := time.Since(began)
	s.longest = max(s.longest, took)
	if took > s.grace+late {
		s.late++
	}
	if took > s.grace+tooLate {
		s.result.faultf("a stop took %v with a grace of %v", took, s.grace)
	}
	reply, err := s.server.ask(ctx, child.Command{Op: child.OpCount})
	if err != nil {
		return err
	}
	n := reply.Counts["running"]
	if n > 0 && !s.dirty {
		s.left += int(n)
	}
	s.dirty = s.dirty && n > 0
	return nil
}

// twice sees that the second signal ends the process at once, unless it was
// about to end.
func (s *stopping) twice(ctx context.Context, p *process, again time.Time) error {
	err := p.end(ctx)
	if errors.Is(err, errSilent) || ctx.Err() != nil {
		return err
	}
	if took := time.Since(again); took > tooLate {
		s.result.faultf("the second signal took %v", took)
	}
	s.second++
	s.dirty = s.dirty || err != nil
	return nil
}
