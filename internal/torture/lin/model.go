package lin

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/torture/life"
)

// A kind is what an operation does to a job.
type kind string

const (
	opPush     kind = "push"
	opClaim    kind = "claim"
	opComplete kind = "complete"
	opFail     kind = "fail"
	opReap     kind = "reap"
	opLeave    kind = "leave"
	opRead     kind = "read"
	// opPresent and opAbsent say that a heartbeat returned a lease, or did not.
	opPresent kind = "present"
	opAbsent  kind = "absent"
)

// An op is an operation with its answer. An operation that may touch many jobs
// has no ID, and belongs to each of them.
type op struct {
	kind      kind
	id        int64
	number    int64 // of the job: identifies a push whose ID is unknown
	worker    int64
	workers   []int64 // that were reaped or left
	token     int64
	attempt   int
	suspect   bool
	ending    backend.Ending
	delay     time.Duration
	seen      seen
	lost      bool
	unknown   bool // it may have taken effect or not
	call, ret int64
}

// seen is the visible state of a job.
type seen struct {
	state    backend.State // Pending for all waiting states, zero before the push
	worker   int64
	failures int
	crashes  int
	suspect  bool
}

// A job is the state of the model: one job in a sequential store. Pending
// stands for all waiting states.
type job struct {
	life.Job
	due int64 // when it may be claimed at the earliest
}

func (s *job) seen() seen {
	return seen{state: s.State, worker: s.Worker, failures: s.Failures, crashes: s.Crashes, suspect: s.Suspect}
}

// model is the sequential specification of one job. An operation that returned
// an error has taken effect or not. If it was about one job, it may take effect
// at any time after the call, or never. If it may have been about any job, as a
// claim, it has taken effect when it returned, or never will: otherwise there
// are too many orders to check a job with a long history.
var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{job{}} },
	Step: func(state, input, _ any) []any {
		before, o := state.(job), input.(*op)
		after := before
		ok := after.step(o)
		switch {
		case o.unknown && o.id == 0 && after != before:
			return []any{before, after}
		case ok || o.unknown:
			return []any{after}
		}
		return nil
	},
}).ToModel()

// step applies o, and reports whether the answer is right. An operation that is
// impossible in this state changes nothing.
func (s *job) step(o *op) bool {
	switch o.kind {
	case opPush:
		if s.State != 0 {
			return false
		}
		s.State, s.due = backend.Pending, o.call+int64(o.delay)
		return true
	case opClaim:
		return s.claim(o)
	case opComplete:
		return o.lost == s.Complete(o.token)
	case opFail:
		held := s.Held(o.token)
		lost := s.Fail(o.token, o.ending, life.After(o.ending, 0))
		if held && s.State == backend.Pending && o.ending != backend.EndRelease {
			s.due = o.call + int64(o.delay)
		}
		return o.lost == lost
	case opReap:
		// Clients claim only when they hold no job, and a suspect is claimed
		// alone, so it is the only job of its worker.
		if s.State == backend.Running && (o.unknown || slices.Contains(o.workers, s.Worker)) {
			s.Rescue(true, backend.Settings{})
		}
		return s.State != 0
	case opLeave:
		if s.State == backend.Running && slices.Contains(o.workers, s.Worker) {
			s.Release()
		}
		return s.State != 0
	case opRead:
		return s.seen() == o.seen
	case opPresent:
		return s.Held(o.token) && s.Worker == o.worker
	case opAbsent:
		return !s.Held(o.token)
	}
	return false
}

func (s *job) claim(o *op) bool {
	if s.State != backend.Pending || !o.unknown && (o.attempt != s.Failures+1 || o.suspect != s.Suspect || o.ret < s.due) {
		return false
	}
	token := o.token
	if o.unknown {
		token = -1 // a lease that no worker has
	}
	s.Start(o.worker, token)
	return true
}

// ends reports whether the job has ended when o returns. No operation starts it
// again.
func (o *op) ends() bool {
	switch o.kind {
	case opRead:
		return o.seen.state.Terminal()
	case opComplete:
		return !o.lost && !o.unknown
	case opFail:
		return !o.lost && !o.unknown && life.After(o.ending, 0).Terminal()
	}
	return false
}

// String returns o for the text of a fault.
func (o *op) String() string {
	text := fmt.Sprintf("[%d %d] %s", o.call/1000, o.ret/1000, o.kind)
	if o.unknown {
		text = fmt.Sprintf("[%d ?] %s", o.call/1000, o.kind)
	}
	switch o.kind {
	case opClaim:
		text += fmt.Sprintf(" worker %d token %d attempt %d suspect %v", o.worker, o.token, o.attempt, o.suspect)
	case opComplete:
		text += fmt.Sprintf(" token %d lost %v", o.token, o.lost)
	case opFail:
		text += fmt.Sprintf(" token %d ending %d after %v lost %v", o.token, o.ending, o.delay, o.lost)
	case opReap, opLeave:
		text += fmt.Sprintf(" workers %v", o.workers)
	case opRead:
		text += fmt.Sprintf(" %+v", o.seen)
	case opPresent, opAbsent:
		text += fmt.Sprintf(" token %d", o.token)
	}
	return text
}
