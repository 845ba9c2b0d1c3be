package torture

import (
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
	// A stop that exceeds the grace by more than late is counted, by more than
	// tooLate is a fault: a busy machine starves processes, too.
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
	dirty         bool // a process was killed before it released its jobs
}

func stop(r *rig) {
	s := &stopping{killing: &killing{rig: r}, grace: time.Second}
	if r.Short {
		s.grace = 200 * time.Millisecond
	}
	s.all()
}

func (s *stopping) all() {
	s.server = s.rig.server()
	for s.stops+s.second < s.Rounds && s.more() {
		if !s.supplied(200) {
			s.pushSome(40)
		}
		s.one(s.random.IntN(4) == 0)
		s.tell("%d of %d stops", s.stops+s.second, s.Rounds)
	}
	worker := s.worker()
	s.drain(s.server, 30*time.Second)
	worker.stop()
	f := s.finish(s.server, nil)
	back := 0
	for _, run := range f.runs {
		if run.released() {
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
}

func (s *stopping) worker() *process {
	return s.spawn(child.Order{Role: child.Work, Concurrency: 8, Lease: shortLease, Grace: s.grace})
}

// pushSome pushes tasks, many of which outlast the grace.
func (s *stopping) pushSome(n int) {
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
	s.push(s.server, tasks)
}

// one starts a worker and stops it at a random moment.
func (s *stopping) one(twice bool) {
	p := s.worker()
	// From here on it handles the signal; before, the signal kills it.
	p.begun()
	s.pause(s.between(0, 300*time.Millisecond))
	began := time.Now()
	p.signal(sigTerm)
	if twice {
		s.pause(s.between(0, s.grace))
		again := time.Now()
		p.mu.Lock()
		p.kills = true
		p.mu.Unlock()
		p.signal(sigTerm)
		s.twice(p, again)
		return
	}
	if err := p.wait(); err != nil {
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
	n := s.counts(s.server)["running"]
	if n > 0 && !s.dirty {
		s.left += int(n)
	}
	s.dirty = s.dirty && n > 0
}

// twice checks that the second signal ends the process at once, unless it was
// about to end.
func (s *stopping) twice(p *process, again time.Time) {
	err := p.wait()
	if errors.Is(err, errSilent) || s.ctx.Err() != nil {
		check(err)
	}
	if took := time.Since(again); took > tooLate {
		s.result.faultf("the second signal took %v", took)
	}
	s.second++
	s.dirty = s.dirty || err != nil
}
