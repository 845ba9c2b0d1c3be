package torture

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// A history is what the children's ledgers say together.
type history struct {
	runs       map[int64]*run // by token
	byJob      map[int64][]*run
	reaped     [3]int64 // workers found dead, jobs rescued, jobs failed
	callErrors []callError
	repeated   int // batches that were pushed again
	ticked     []ticked
	ticks      map[*process]int // their number, by process
	logged     []logged
	// staleTried are attempts to settle lost leases.
	staleTried int
	// unsettled is the largest number of ended runs in one process whose end
	// was not stored yet.
	unsettled int
	// left is the number of such runs that each process had when it ended.
	left map[*process]int
}

// A run is one lease and what became of it. Times are in microseconds. A zero
// time means that the run did not get there.
type run struct {
	token, id int64
	attempt   int
	suspect   bool
	p         *process

	asked, claimed, started, ended, settles int64

	outcome       string
	ending        string // the last one that was to be stored
	accepted      bool
	lost          bool
	acceptedStale bool // a settlement of the lost lease was accepted
	doubted       bool // an error was returned although the end may be stored
}

// A ticked is a run of a job that a schedule has pushed.
type ticked struct {
	id       int64
	schedule int
	tick     int64
}

// A logged is a line of a worker's log.
type logged struct {
	p    *process
	at   int64 // µs
	text string
}

// A callError is an error of a call to the store.
type callError struct {
	p    *process
	kind string
	took int64 // µs
	at   int64 // µs
	text string
}

// history reads the ledgers of all children, which have ended.
func (r *rig) history() *history {
	h := &history{runs: map[int64]*run{}, byJob: map[int64][]*run{}, ticks: map[*process]int{}, left: map[*process]int{}}
	for _, p := range r.all {
		if p.ledger == "" {
			continue
		}
		text, err := os.ReadFile(p.ledger)
		if os.IsNotExist(err) {
			continue // it was killed before it made one
		}
		check(err)
		if err := h.read(p, text, &r.result); err != nil {
			check(fmt.Errorf("%s: %w", p.ledger, err))
		}
	}
	for _, run := range h.runs {
		h.byJob[run.id] = append(h.byJob[run.id], run)
	}
	for _, runs := range h.byJob {
		slices.SortFunc(runs, func(a, b *run) int { return cmp.Compare(a.claimed, b.claimed) })
	}
	return h
}

// read takes in one ledger. A last line without its end was cut by a kill.
func (h *history) read(p *process, text []byte, result *Result) error {
	unsettled := 0
	defer func() { h.left[p] = unsettled }()
	for line := range bytes.Lines(text) {
		if line[len(line)-1] != '\n' {
			return nil
		}
		f := bytes.Fields(line)
		if len(f) < 3 || len(f[0]) != 1 {
			return fmt.Errorf("line %q", line)
		}
		n := make([]int64, len(f))
		for i := range f {
			n[i], _ = strconv.ParseInt(string(f[i]), 10, 64)
		}
		kind, at := f[0][0], n[1]
		switch kind {
		case child.NoteError:
			t := callError{p: p, kind: string(f[2]), text: string(bytes.Join(f[4:], []byte(" ")))}
			t.took, t.at = n[3], at
			h.callErrors = append(h.callErrors, t)
			if op, _, _ := strings.Cut(t.text, " "); op == "complete" || op == "commit" {
				for _, run := range h.runs {
					run.doubted = run.doubted || run.p == p && run.settles > 0 && !run.accepted
				}
			}
			continue
		case child.NoteTicked:
			h.ticks[p]++
			h.ticked = append(h.ticked, ticked{id: n[2], schedule: int(n[3]), tick: n[4]})
			continue
		case child.NotePushes:
			continue
		case child.NoteRepeated:
			h.repeated++
			continue
		case child.NoteLog:
			h.logged = append(h.logged, logged{p: p, at: at, text: string(bytes.Join(f[2:], []byte(" ")))})
			continue
		case child.NoteReaped:
			for i := range h.reaped {
				h.reaped[i] += n[2+i]
			}
			continue
		case child.NoteClaimed:
			if h.runs[n[2]] != nil {
				result.faultf("token %d was issued twice", n[2])
			}
			h.runs[n[2]] = &run{token: n[2], id: n[3], attempt: int(n[4]), suspect: n[5] == 1, p: p, claimed: at, asked: n[6]}
			continue
		}
		run := h.runs[n[2]]
		if run == nil {
			return fmt.Errorf("line %q is of a lease that was not claimed", line)
		}
		switch kind {
		case child.NoteStarted:
			run.started = at
		case child.NoteEnded:
			run.ended, run.outcome = at, string(f[3])
			if !run.accepted && !run.lost && run.outcome != child.OutcomeLost {
				unsettled++
				h.unsettled = max(h.unsettled, unsettled)
			}
		case child.NoteSettles:
			if !run.accepted {
				run.settles, run.ending = at, string(f[3])
			}
		case child.NoteStale:
			h.staleTried++
			run.acceptedStale = run.acceptedStale || string(f[3]) == child.Accepted
		case child.NoteAccepted, child.NoteLost:
			if run.accepted {
				// The heartbeat had read the lease before it was settled. Its
				// release is refused, as it must be.
				continue
			}
			if run.ended > 0 && run.outcome != child.OutcomeLost && !run.lost {
				unsettled--
			}
			run.accepted, run.lost = kind == child.NoteAccepted, kind == child.NoteLost
		}
	}
	return nil
}

// of returns the runs of a process.
func (h *history) of(p *process) (runs []*run) {
	for _, run := range h.runs {
		if run.p == p {
			runs = append(runs, run)
		}
	}
	return runs
}

// deaths returns the runs of a job as a suspect whose processes died, or were
// frozen for longer than their lease.
func (h *history) deaths(id int64) (runs []*run) {
	for _, run := range h.byJob[id] {
		if run.suspect && !run.accepted && (run.p.died() || run.p.thawed) {
			runs = append(runs, run)
		}
	}
	return runs
}

// alone returns in how many of these deaths the process ran no other job, as
// far as it noted.
func (h *history) alone(id int64) (n int) {
	for _, death := range h.deaths(id) {
		if !slices.ContainsFunc(h.of(death.p), func(other *run) bool { return other != death && !other.accepted }) {
			n++
		}
	}
	return n
}

// released reports whether the run ended without using an attempt.
func (r *run) released() bool {
	return r.accepted && (r.ending == "release" || r.ending == "snooze")
}

// claimedAgain reports whether the job was claimed after this lease was issued.
func (r *run) claimedAgain(runs []*run) bool {
	return slices.ContainsFunc(runs, func(other *run) bool { return other.asked > r.claimed })
}

// spends reports whether the run's end uses an attempt.
func (r *run) spends() bool { return r.ending == "retry" || r.ending == "failed" }

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

// lostLeases returns the leases that are known to have been lost.
func (h *history) lostLeases() (leases []child.Lease) {
	for _, run := range h.runs {
		if !run.accepted && (run.lost || run.outcome == child.OutcomeLost || run.claimedAgain(h.byJob[run.id])) {
			leases = append(leases, child.Lease{ID: run.id, Token: run.token})
		}
	}
	return leases
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
