package torture

import (
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// A verdict counts how well the promises were kept, by the history and the
// database at the end.
type verdict struct {
	staleTried                      int // attempts to settle lost leases
	execs, repeats, leasesLost      int
	lost, stuck, stale, unexplained int
	attempts                        int // jobs whose recorded attempts are wrong
	crashed                         int // jobs failed because their workers died
	failed                          int // jobs failed by their handlers
	superseded                      int // jobs cancelled because another job had their key
	unacknowledged                  int // jobs whose push was never acknowledged
	maxAttempt                      int
	done                            int
}

// A pruned reports whether a job may have been pruned after a run whose
// completion was begun. Nil means that no job may have been.
type pruned func(*run) bool

// byDone is the pruned of tests in which the process may have died, or got an
// error, after the completion was stored.
func byDone(r *run) bool { return r.accepted || r.doubted || r.p.died() }

// judge compares the history with the database and with what was acknowledged.
func (r *rig) judge(h *history, e ending, pruned pruned) (v verdict) {
	v.staleTried = h.staleTried
	fault := r.result.faultf
	for id, number := range r.acks.ids {
		j, ok := e.jobs[id]
		switch {
		case !ok && pruned != nil && slices.ContainsFunc(h.byJob[id], func(r *run) bool { return r.ending == "done" && pruned(r) }):
		case !ok:
			v.lost++
			fault("job %d was acknowledged and is not there", id)
		case j.N != number:
			v.lost++
			fault("job %d was acknowledged with the data of task %d and has that of %d", id, number, j.N)
		}
	}
	for id, j := range e.jobs {
		if j.Tick != 0 { // a schedule has pushed it
			if j.State != "done" {
				v.stuck++
				fault("job %d of a schedule is %s at the end: %+v", id, j.State, j)
			}
			continue
		}
		if _, ok := r.acks.ids[id]; !ok {
			v.unacknowledged++
		}
		switch j.State {
		case "done":
			v.done++
			if !slices.ContainsFunc(h.byJob[id], func(r *run) bool { return r.outcome == child.OutcomeDone }) {
				v.lost++
				fault("job %d is done and no run of it went well", id)
			}
		case "failed":
			if j.Crashes > 0 {
				v.crashed++
			} else {
				v.failed++
			}
		case "cancelled":
			if v.superseded++; !strings.HasPrefix(j.Error, backend.SupersededError) {
				fault("job %d is cancelled: %s", id, j.Error)
			}
		default:
			v.stuck++
			fault("job %d is %s at the end: %+v", id, j.State, j)
		}
		h.judgeAttempts(j, &v, fault)
	}
	for id, runs := range h.byJob {
		h.judgeRuns(id, runs, &v, fault)
	}
	return v
}

// judgeAttempts compares the attempts that a job has used with the failures
// that were stored. A failure whose process died meanwhile may be stored or
// not.
func (h *history) judgeAttempts(j child.Job, v *verdict, fault func(string, ...any)) {
	least, most := 0, 0
	for _, run := range h.byJob[j.ID] {
		v.maxAttempt = max(v.maxAttempt, run.attempt)
		if run.spends() && !run.lost {
			most++
			if run.accepted {
				least++
			}
		}
	}
	if j.Failures < least || j.Failures > most {
		v.attempts++
		fault("job %d has spent %d attempts; %d were stored and %d may have been", j.ID, j.Failures, least, most)
	}
}

// judgeRuns checks the runs of one job.
func (h *history) judgeRuns(id int64, runs []*run, v *verdict, fault func(string, ...any)) {
	byAttempt := map[int][]*run{}
	for _, run := range runs {
		if run.started > 0 {
			v.execs++
			byAttempt[run.attempt] = append(byAttempt[run.attempt], run)
			// A worker that learns of the loss between the handler's end and
			// the settlement notes nothing. The next claim shows the loss.
			run.lost = run.lost || !run.accepted && !run.p.died() && run.claimedAgain(runs)
			if run.lost || run.outcome == child.OutcomeLost {
				v.leasesLost++
			}
		}
		// A later claim ends this lease.
		if run.acceptedStale && !run.accepted {
			v.stale++
			fault("job %d: the lost lease %d was accepted", id, run.token)
		}
		if run.accepted {
			for _, other := range runs {
				if other.asked > run.claimed && other.claimed < run.settles {
					v.stale++
					fault("job %d: the end of lease %d was accepted after lease %d was given", id, run.token, other.token)
				}
			}
		}
	}
	for attempt, runs := range byAttempt {
		settled, back := 0, 0
		for _, run := range runs {
			switch {
			case run.released():
				back++
			case run.accepted:
				settled++
			case run.lost || run.outcome == child.OutcomeLost || run.p.died():
			default:
				v.unexplained++
				fault("job %d: lease %d has no end, and its process %d lives", id, run.token, run.p.number)
			}
		}
		if settled > 1 {
			v.stale++
			fault("job %d: attempt %d ended %d times", id, attempt, settled)
		}
		v.repeats += max(0, len(runs)-1-back)
	}
}

// add adds another verdict.
func (v *verdict) add(w verdict) {
	v.execs += w.execs
	v.staleTried += w.staleTried
	v.repeats += w.repeats
	v.leasesLost += w.leasesLost
	v.lost += w.lost
	v.stuck += w.stuck
	v.stale += w.stale
	v.unexplained += w.unexplained
	v.attempts += w.attempts
	v.crashed += w.crashed
	v.failed += w.failed
	v.unacknowledged += w.unacknowledged
	v.done += w.done
	v.maxAttempt = max(v.maxAttempt, w.maxAttempt)
}

// mayRepeat returns how many runs may be repeated: the running ones of
// processes that died, up to concurrency each, the ended ones there that were
// not stored, and those whose leases were lost.
func (f *finish) mayRepeat(concurrency int) int {
	n := f.leasesLost
	for p, left := range f.left {
		if p.died() {
			n += concurrency + left
		}
	}
	return n
}

// repeatAtMost adds the bound of repeats, and a fault if there are more.
func (v verdict) repeatAtMost(r *Result, bound int) {
	r.add("repeats_at_most", bound)
	if v.repeats > bound {
		r.faultf("%d repeats, want at most %d", v.repeats, bound)
	}
}

// report adds the figures that every test with workers prints.
func (v verdict) report(r *Result) {
	r.add("execs", v.execs)
	r.add("repeats", v.repeats)
	r.add("leases_lost", v.leasesLost)
	r.must("lost", v.lost)
	r.must("stuck", v.stuck)
	r.add("stale_tried", v.staleTried)
	r.must("stale_accepted", v.stale)
	r.must("unexplained", v.unexplained)
	r.must("attempts_wrong", v.attempts)
}
