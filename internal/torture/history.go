package torture

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// A history is what the children's ledgers say together.
type history struct {
	runs       map[int64]*run // by token
	unreturned map[int64]bool // by token: leases of claims whose replies were lost
	byJob      map[int64][]*run
	reaped     [3]int64 // workers found dead, jobs rescued, jobs failed
	callErrors []callError
	repeated   int // batches that were pushed again
	ticked     []ticked
	ticks      map[*process]int // their number, by process
	logged     []logged
	grouped    []grouped
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

// A grouped is a note of a process that works on groups: its kind, the job or the group, and
// the step or another number.
type grouped struct {
	kind      byte
	at        int64 // µs
	id, other int64
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
	h := &history{runs: map[int64]*run{}, unreturned: map[int64]bool{}, byJob: map[int64][]*run{}, ticks: map[*process]int{}, left: map[*process]int{}}
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
		case child.NoteGroup, child.NoteStep, child.NoteStepped, child.NoteCallback:
			h.grouped = append(h.grouped, grouped{kind, at, n[2], n[3]})
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
			// The reply to a claim may be lost. Its worker releases the lease once
			// heartbeats have found it.
			if kind == child.NoteSettles && string(f[3]) == child.Released {
				h.unreturned[n[2]] = true
			}
			switch {
			case !h.unreturned[n[2]]:
				return fmt.Errorf("line %q is of a lease that was not claimed", line)
			case kind == child.NoteStale && string(f[3]) == child.Accepted:
				result.faultf("the job of the released lease %d was completed with it", n[2])
			}
			continue
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
				if kind == child.NoteAccepted && string(f[3]) != run.ending {
					result.faultf("lease %d ended twice: %s, then %s", run.token, run.ending, f[3])
				}
				continue
			}
			if run.ended > 0 && run.outcome != child.OutcomeLost && !run.lost {
				unsettled--
			}
			run.accepted, run.lost = kind == child.NoteAccepted, kind == child.NoteLost
			if run.accepted {
				// If the reply to a claim is late, its worker may release a lease and complete
				// it at the same time. This says which of them the store accepted.
				run.ending, run.settles = string(f[3]), n[4]
			}
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

// lostLeases returns the leases that are known to have been lost.
func (h *history) lostLeases() (leases []child.Lease) {
	for _, run := range h.runs {
		if !run.accepted && (run.lost || run.outcome == child.OutcomeLost || run.claimedAgain(h.byJob[run.id])) {
			leases = append(leases, child.Lease{ID: run.id, Token: run.token})
		}
	}
	return leases
}
