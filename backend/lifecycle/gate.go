package lifecycle

import (
	"fmt"
	"strconv"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Tally has counts of a gate's members, or a change of these counts.
type Tally struct{ Total, Open, Done, Failed, Cancelled int64 }

// Joined returns what a member in state s adds to its gate when the gate begins to count it.
func Joined(s backend.State) Tally { return Tally{Total: 1}.plus(s, 1) }

// Moved returns what changes in a gate when a member moves from one state to another. The state zero
// is that of a job that is not stored: a job that is pushed is counted by [Joined].
func Moved(from, to backend.State) Tally {
	switch {
	case from == 0, to == 0 && from.Terminal(): // pruned
		return Tally{}
	case to == 0: // deleted before its end
		to = backend.Cancelled
	}
	return Tally{}.plus(from, -1).plus(to, 1)
}

// Corrected returns the change that corrects a gate that counts surplus open members too many: these
// are gone without having been counted, as if cancelled. With a negative surplus there are members that
// the gate does not count, and which are new to it.
func Corrected(surplus int64) Tally {
	if surplus < 0 {
		return Tally{Open: -surplus, Total: -surplus}
	}
	return Tally{Open: -surplus, Cancelled: surplus}
}

func (t Tally) plus(s backend.State, n int64) Tally {
	switch s {
	case backend.Done:
		t.Done += n
	case backend.Failed:
		t.Failed += n
	case backend.Cancelled:
		t.Cancelled += n
	default:
		t.Open += n
	}
	return t
}

// Plus returns the sum of t and o.
func (t Tally) Plus(o Tally) Tally {
	return Tally{t.Total + o.Total, t.Open + o.Open, t.Done + o.Done, t.Failed + o.Failed, t.Cancelled + o.Cancelled}
}

// A Gate is the part of a stored gate that changes; see [backend.GateStore]. Instants are as in [Job].
//
// A store adds the Tally of each change of a member, or the sum of several, by [Gate.Count], and does
// what the result says: it passes the outcome on to the parent when the gate ends, and asks
// [Gate.Passage] about waiters when WhenFailed begins to hold, when the gate ends, and when a waiter
// comes to a gate that has Fired.
type Gate struct {
	Tally
	Kind     backend.GateKind
	Sealed   bool
	Paused   bool
	Fired    bool
	EndedAt  int64
	Deadline int64 // zero means none
}

// NewGate returns a gate that is created now. It is not sealed yet: the store seals it when all jobs
// of its request count.
func NewGate(n *backend.NewGate, now int64) Gate {
	g := Gate{Kind: n.Kind}
	if n.Deadline > 0 {
		g.Deadline = now + n.Deadline.Microseconds()
	}
	return g
}

// Takes reports whether g takes new members and waiters.
func (g Gate) Takes(now int64) bool {
	return g.EndedAt == 0 && (g.Deadline == 0 || g.Deadline > now)
}

// Overdue reports whether g has passed its deadline and has not ended. The store then seals it and
// cancels its unfinished members.
func (g Gate) Overdue(now int64) bool { return g.EndedAt == 0 && g.Deadline != 0 && g.Deadline <= now }

// Count returns g after a change of its members, or after its seal. It changes nothing of a gate that
// has ended.
func (g Gate) Count(t Tally, now int64) Gate {
	if g.EndedAt != 0 {
		return g
	}
	g.Tally = g.Plus(t)
	g.Fired = g.Fired || g.Failed > 0
	if g.Sealed && g.Open <= 0 {
		g.EndedAt = now
	}
	return g
}

// State returns the state by which g, which has ended, counts in its parent.
func (g Gate) State() backend.State {
	switch {
	case g.EndedAt == 0:
		return backend.Pending
	case g.Failed+g.Cancelled > 0 && g.Kind != backend.NeedEndGate:
		return backend.Failed
	}
	return backend.Done
}

// Keeps reports whether finished members of g are kept, whatever their retention.
func (g Gate) Keeps() bool { return g.Kind == backend.FlowGate && g.EndedAt == 0 }

// Stale reports whether g, of which no waiter waits and which no gate awaits any more, is to be
// deleted. Stored says whether a member or waiter of g is stored.
func (g Gate) Stale(stored bool, now int64) bool {
	age := time.Duration(now-g.EndedAt) * time.Microsecond
	return g.EndedAt != 0 && (!stored && age >= backend.KeepGate || g.Kind < backend.NeedGate && age >= backend.KeepEnded)
}

// A Passage says what becomes of a waiter.
type Passage uint8

// The passages.
const (
	Waits    Passage = iota // the waiter waits
	Admitted                // its condition holds: see [Job.Admit]
	Refused                 // its condition can no longer hold: see [Job.Refuse]
	Unneeded                // nothing has failed: the job is deleted and counts as done
)

// Passage returns what becomes of a waiter with the given condition.
func (g Gate) Passage(w backend.When) Passage {
	ended := g.EndedAt != 0
	switch {
	case w == backend.WhenFailed && g.Fired, (w == backend.WhenEnded || w == backend.NeedsEnded) && ended:
		return Admitted
	case !ended:
		return Waits
	case w == backend.WhenFailed:
		return Unneeded
	case g.Failed+g.Cancelled > 0:
		return Refused
	}
	return Admitted
}

// GateText returns the error with which the gate with the given ID, which has ended, refuses a job
// that waits for w.
func GateText(id int64, g Gate, w backend.When) string {
	text := backend.GateError
	switch {
	case w == backend.NeedsDone:
		return backend.NeedError + needText(g)
	case g.Cancelled == 0:
		text += fmt.Sprintf("%s of group %d failed", share(g.Failed, g.Total), id)
	case g.Failed == 0:
		text += fmt.Sprintf("%s of group %d %s cancelled", share(g.Cancelled, g.Total), id, were(g.Cancelled))
	default:
		text += fmt.Sprintf("%s of group %d failed, %s %s cancelled", share(g.Failed, g.Total), id, thousands(g.Cancelled), were(g.Cancelled))
	}
	return text
}

func needText(g Gate) string {
	switch {
	case g.Total == 1 && g.Failed == 1:
		return "the only one failed"
	case g.Total == 1:
		return "the only one was cancelled"
	case g.Failed == 0:
		return fmt.Sprintf("%s of %s %s cancelled", thousands(g.Cancelled), thousands(g.Total), were(g.Cancelled))
	case g.Cancelled == 0:
		return fmt.Sprintf("%s of %s failed", thousands(g.Failed), thousands(g.Total))
	}
	return fmt.Sprintf("%s of %s failed, %s %s cancelled", thousands(g.Failed), thousands(g.Total), thousands(g.Cancelled), were(g.Cancelled))
}

func share(n, of int64) string {
	if of == 1 {
		return "the only job"
	}
	return thousands(n) + " of " + thousands(of) + " jobs"
}

func were(n int64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Gated reports whether n waits behind a gate at first.
func Gated(n *backend.NewJob) bool { return n.Gating != nil && n.Gating.Gate != 0 }

// Behind returns a job that is pushed now and waits behind a gate. RunAt and ExpiresAt of n stay
// instants; see [CountFrom]. The store keeps n.Delay and n.Expires for [Job.Admit].
func Behind(n *backend.NewJob, now int64) Job {
	return Job{State: backend.Blocked, Priority: n.Priority, RunAt: max(now, Micros(n.RunAt)), ExpiresAt: Micros(n.ExpiresAt)}
}

// Admit returns j, whose gate lets it through, with its delay and expiry counted from now; zero
// means none. It is Scheduled or Pending, unless its serial key has another head.
func (j Job) Admit(delay, expires time.Duration, now int64) Job {
	j.RunAt = max(j.RunAt, now+delay.Microseconds())
	if expires > 0 {
		j.ExpiresAt = now + expires.Microseconds()
	}
	return j.Ready(now)
}

// Refuse cancels j, which waits behind a gate or counts in one, for the reason in text: that of
// [GateText], or [backend.DeadlineError] with the gate's ID. If j runs, it sets Cancelling, and returns
// no error.
func (j Job) Refuse(text string, now int64) (Job, backend.RunError) {
	if j.State == backend.Running {
		j.Cancelling = true
		return j, backend.RunError{}
	}
	e := j.failed(text, "", now)
	return j.stop(backend.Cancelled, now), e
}

// FillGate sets the fields of info that are fields of g.
func (g Gate) FillGate(info *backend.GateInfo) {
	info.Kind, info.Sealed, info.Paused, info.Fired = g.Kind, g.Sealed, g.Paused, g.Fired
	info.Total, info.Open, info.Done, info.Failed, info.Cancelled = g.Total, g.Open, g.Done, g.Failed, g.Cancelled
	info.EndedAt, info.Deadline = Time(g.EndedAt), Time(g.Deadline)
}

// GateOf returns the Gate of an imported gate.
func GateOf(info *backend.GateInfo) Gate {
	return Gate{
		Tally: Tally{info.Total, info.Open, info.Done, info.Failed, info.Cancelled},
		Kind:  info.Kind, Sealed: info.Sealed, Paused: info.Paused, Fired: info.Fired, EndedAt: Micros(info.EndedAt), Deadline: Micros(info.Deadline),
	}
}

// Hold returns j, which waits, as Blocked: one of its gates is paused. [Job.Ready] ends that.
func (j Job) Hold() Job {
	j.State = backend.Blocked
	return j
}
