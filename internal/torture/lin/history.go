package lin

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history is all operations of a check.
type history struct {
	asked  int // number of operations of the clients
	ops    []op
	claims []claim
	faults []string
}

// undecided is how long the checker may take for one job. Nearly all are quick.
const undecided = time.Minute

// A jobHistory is the history of one job.
type jobHistory struct {
	id          int64
	ops         []*op
	first, last int64 // when the job was pushed, and when it had ended
}

// judge checks the history.
func (h *history) judge() Report {
	r := Report{Ops: h.asked, Faults: h.faults}
	lines := h.lines(&r)
	r.Jobs = len(lines)
	tokens := map[int64]int64{}
	for i := range h.ops {
		o := &h.ops[i]
		if o.unknown {
			r.Unknown++
		}
		if o.lost {
			r.Lost++
		}
		switch {
		case o.kind == opReap:
			r.Reaped += len(o.workers)
		case o.kind == opClaim && !o.unknown:
			if other, twice := tokens[o.token]; twice {
				r.Illegal++
				r.faultf("token %d was issued for job %d and for job %d", o.token, other, o.id)
			}
			tokens[o.token] = o.id
		}
	}
	h.early(&r)
	h.empty(&r, lines)
	for _, l := range lines {
		switch porcupine.CheckOperationsTimeout(model, l.history(), undecided) {
		case porcupine.Illegal:
			r.Illegal++
			var text strings.Builder
			for _, o := range l.ops {
				text.WriteString("\n\t" + o.String())
			}
			r.faultf("no sequence explains what happened to job %d:%s", l.id, text.String())
		case porcupine.Unknown:
			r.Undecided++
		}
	}
	return r
}

// history returns the operations in the form that the checker takes.
func (l *jobHistory) history() []porcupine.Operation {
	all := make([]porcupine.Operation, len(l.ops))
	for i, o := range l.ops {
		all[i] = porcupine.Operation{ClientId: i, Input: o, Call: o.call, Return: o.ret}
		if o.unknown && o.id != 0 {
			all[i].Return = math.MaxInt64
		}
	}
	return all
}

// lines splits the history by job. An operation that may have touched many jobs
// belongs to each job that existed when the operation returned and had not
// ended when it was called.
func (h *history) lines(r *Report) []*jobHistory {
	byID, pushes := map[int64]*jobHistory{}, map[int64]*op{}
	var many []*op
	for i := range h.ops {
		o := &h.ops[i]
		if o.kind == opPush {
			pushes[o.number] = o
		}
		if o.id == 0 {
			if o.kind != opPush {
				many = append(many, o)
			}
			continue
		}
		l := byID[o.id]
		if l == nil {
			l = &jobHistory{id: o.id, first: o.call, last: math.MaxInt64}
			byID[o.id] = l
		}
		l.ops = append(l.ops, o)
		l.first = min(l.first, o.call)
		if o.ends() {
			l.last = min(l.last, o.ret)
		}
	}
	var lines []*jobHistory
	for _, l := range byID {
		l.findPush(pushes, r)
		// A worker whose claims are unknown may have been reaped.
		for _, unknown := range []bool{true, false} {
			for _, o := range many {
				if o.unknown == unknown && o.ret >= l.first && o.call <= l.last && l.concerns(o) {
					l.ops = append(l.ops, o)
				}
			}
		}
		slices.SortStableFunc(l.ops, func(a, b *op) int { return cmp.Compare(a.call, b.call) })
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b *jobHistory) int { return cmp.Compare(a.id, b.id) })
	return lines
}

// concerns reports whether o may change the job: if its effect is unknown, or
// if it is about a worker that had the job.
func (l *jobHistory) concerns(o *op) bool {
	return o.unknown || slices.ContainsFunc(l.ops, func(c *op) bool {
		return c.kind == opClaim && slices.Contains(o.workers, c.worker)
	})
}

// findPush adds the push of a job whose ID was not returned.
func (l *jobHistory) findPush(pushes map[int64]*op, r *Report) {
	number := int64(0)
	for _, o := range l.ops {
		if o.kind == opPush {
			l.first = o.call // a claim that found the job may have been called before
			return
		}
		number = cmp.Or(o.number, number)
	}
	push := pushes[number]
	switch {
	case push == nil:
		r.faultf("job %d was never pushed", l.id)
	case push.id != 0:
		r.faultf("job %d is task %d, which is job %d", l.id, number, push.id)
	default:
		found := *push
		found.id = l.id
		l.ops = append(l.ops, &found)
		l.first = push.call
	}
}

// early finds workers that were reaped before their lease had expired.
func (h *history) early(r *Report) {
	byWorker := map[int64][]claim{}
	for _, c := range h.claims {
		if !c.failed {
			byWorker[c.worker] = append(byWorker[c.worker], c)
		}
	}
	for i := range h.ops {
		o := &h.ops[i]
		if o.kind != opReap {
			continue
		}
		for _, w := range o.workers {
			for _, c := range byWorker[w] {
				// The lease was renewed before the reap began, at c.call or
				// later. The store rounds times to microseconds.
				if c.ret < o.call && o.ret+int64(2*time.Microsecond) < c.call+int64(lease) {
					r.Early++
					r.faultf("worker %d was renewed in [%d %d] and found dead in [%d %d]", w, c.call, c.ret, o.call, o.ret)
				}
			}
		}
	}
}

// empty finds claims that found nothing although a job was claimable all the
// time: it is not a suspect, was pushed without a delay, and appears next in a
// claim that began later.
func (h *history) empty(r *Report, lines []*jobHistory) {
	type span struct{ from, to, id int64 }
	var spans []span
	for _, l := range lines {
		if i := slices.IndexFunc(l.ops, func(o *op) bool { return o.kind == opPush && !o.unknown && o.delay == 0 }); i >= 0 {
			to := int64(math.MaxInt64)
			for _, o := range l.ops {
				if o.kind == opClaim { // also one whose effect is unknown
					to = min(to, o.call)
				}
			}
			if to > l.ops[i].ret {
				spans = append(spans, span{l.ops[i].ret, to, l.id})
			}
		}
	}
	for _, c := range h.claims {
		if c.found > 0 || c.failed {
			continue
		}
		for _, s := range spans {
			if s.from < c.call && c.ret < s.to {
				r.Empty++
				r.faultf("a claim in [%d %d] found nothing, and job %d was there", c.call, c.ret, s.id)
			}
		}
	}
}
