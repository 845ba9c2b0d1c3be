package torture

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var handlerTest = &Test{
	ID:     "handler",
	About:  "handlers panic, exit, overflow the stack, exhaust memory, end their goroutine, ignore their context, return absurd errors or settle too late, among good ones",
	Unit:   "jobs of each kind",
	Counts: []string{"bad", "good"},
	Short:  1, Full: 20,
	Mixed: true,
	Unix:  true,
	run:   handler,
}

// A misbehavior is a kind of bad handler, and how its job must end.
type misbehavior struct {
	action child.Action
	state  string
	text   string // in the error of a failed job
	fatal  bool   // it ends the process
	linux  bool   // it needs a limit that only Linux enforces
}

var misbehaviors = []misbehavior{
	{action: child.ActionPanic, state: "failed", text: "panic: task "},
	{action: child.ActionPanicNil, state: "failed", text: "panic called with nil"},
	{action: child.ActionGoexit, state: "failed", text: "runtime.Goexit"},
	{action: child.ActionHugeError, state: "failed", text: "huge huge"},
	{action: child.ActionBinaryError, state: "failed", text: "not text"},
	{action: child.ActionIgnoreContext, state: "done"},
	{action: child.ActionLate, state: "done"},
	{action: child.ActionExit, state: "failed", text: backend.CrashError, fatal: true},
	{action: child.ActionNilDeref, state: "failed", text: backend.CrashError, fatal: true},
	{action: child.ActionCloseQueue, state: "failed", text: backend.CrashError, fatal: true},
	{action: child.ActionOverflowStack, state: "failed", text: backend.CrashError, fatal: true},
	{action: child.ActionExhaustMemory, state: "failed", text: backend.CrashError, fatal: true, linux: true},
}

// runs reports whether the test includes it on this system.
func (m misbehavior) runs() bool { return !m.linux || runtime.GOOS == "linux" }

// goodEach is the number of good jobs for each bad one.
const goodEach = 10

// A handling is one run of the test.
type handling struct {
	*rig
	server   *process
	workers  []*process
	late     chan *process // processes with a run that waits for its lease to expire
	badTasks map[int64]misbehavior
	next     int64
	crashes  int
	kept     int // workers frozen for that
}

func handler(r *rig) {
	h := &handling{rig: r, workers: make([]*process, 3), late: make(chan *process, 1000), badTasks: map[int64]misbehavior{}}
	h.all()
}

func (h *handling) all() {
	h.server = h.rig.server()
	for i := range h.workers {
		h.respawn(i)
	}
	// The jobs that leave their process alive come first: a process that dies
	// makes suspects of innocent jobs.
	for _, fatal := range []bool{false, true} {
		h.pushAll(fatal)
		h.watch()
	}
	h.stuck()
	h.judgement()
}

func (h *handling) respawn(i int) {
	h.workers[i] = h.spawnOn(h.pick(), child.Order{Role: child.Work, Concurrency: 4, Lease: shortLease, Grace: 500 * time.Millisecond},
		func(p *process, r child.Reply) bool {
			if r.Late != 0 {
				h.late <- p
			}
			return r.Late != 0
		})
}

func (h *handling) pushAll(fatal bool) {
	var tasks []child.Task
	for range h.Rounds {
		for _, m := range misbehaviors {
			if m.fatal != fatal || !m.runs() {
				continue
			}
			h.badTasks[h.next] = m
			tasks = append(tasks, child.Task{N: h.next, Do: m.action, Attempts: 2, Takes: 300 * time.Millisecond})
			h.next++
			for range goodEach {
				tasks = append(tasks, child.Task{N: h.next, Takes: h.between(0, 10*time.Millisecond)})
				h.next++
			}
		}
	}
	h.random.Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
	for part := range slices.Chunk(tasks, 500) {
		h.push(h.server, part)
	}
}

// watch replaces processes that died, and freezes those with a run that waits
// for its lease to expire, until all jobs have ended.
func (h *handling) watch() {
	thaw := map[*process]time.Time{} // when the frozen processes go on
	changed, last := time.Now(), ""
	for {
		for i, p := range h.workers {
			if p.over() {
				h.crashes++
				delete(thaw, p)
				h.respawn(i)
			}
		}
		select {
		case p := <-h.late:
			if thaw[p].IsZero() && !p.over() && len(thaw) < len(h.workers)-1 {
				h.kept++
				thaw[p] = time.Now().Add(2 * shortLease)
				p.freezeFor(2 * shortLease)
			}
		default:
		}
		for p, when := range thaw {
			if time.Now().After(when) {
				delete(thaw, p)
			}
		}
		counts := h.counts(h.server)
		if unfinished(counts) == 0 && len(thaw) == 0 {
			return
		}
		if text := fmt.Sprint(counts); text != last {
			changed, last = time.Now(), text
		}
		if time.Since(changed) > patience/3 {
			h.result.faultf("nothing happens any more: %s", last)
			check(fmt.Errorf("nothing happens any more: %s", last))
		}
		h.pause(10 * time.Millisecond)
	}
}

// stuck stops a worker whose handler never returns: it must end, and leave the
// job to be rescued.
func (h *handling) stuck() {
	each(h.workers, (*process).stop)
	h.push(h.server, []child.Task{{N: h.next, Do: child.ActionNeverReturn}})
	h.next++
	h.respawn(0)
	p := h.workers[0]
	h.until("the handler that never returns runs", func() bool { return h.counts(h.server)["running"] == 1 })
	began := time.Now()
	p.signal(sigTerm)
	if err := p.wait(); err == nil || !strings.Contains(err.Error(), "ignored the end of their contexts") {
		h.result.faultf("a worker with a handler that never returns ended with %v", err)
	}
	if took := time.Since(began); took > 500*time.Millisecond+time.Second+tooLate {
		h.result.faultf("a worker with a handler that never returns took %v to end", took)
	}
	h.respawn(0)
	h.drain(h.server, 30*time.Second)
	h.workers[0].stop()
}

func (h *handling) judgement() {
	f := h.finish(h.server, nil)
	r := &h.result
	good, bad, wrong, refused, innocents := 0, 0, 0, 0, 0
	stuckJobs := 0
	for id, j := range f.jobs {
		m, is := h.badTasks[j.N]
		switch {
		case j.N == h.next-1:
			stuckJobs++
		case !m.fatal && j.State == "failed" && j.Crashes == child.MaxCrashes && j.Error == backend.CrashError:
			innocents++
			if fault := unfair(f.history, id); fault != "" {
				wrong++
				r.faultf("job %d, which is harmless, is failed: %s", id, fault)
			}
		case !is:
			good++
			if j.State != "done" {
				wrong++
				r.faultf("the good job %d is %+v", id, j)
			}
		default:
			bad++
			if fault := m.judge(j, f.byJob[id], f.alone(id)); fault != "" {
				wrong++
				r.faultf("job %d, which does %q, %s: %+v", id, m.action, fault, j)
			}
			if m.action == child.ActionLate {
				for _, run := range f.byJob[id] {
					if run.lost || run.outcome == child.OutcomeLost {
						refused++
					}
				}
			}
		}
	}
	r.add("kinds", len(misbehaviors)+1)
	r.add("bad", bad+stuckJobs)
	r.add("good", good)
	r.add("crashes", h.crashes)
	r.add("frozen", h.kept)
	r.add("late_refused", refused)
	r.add("execs", f.execs)
	r.add("repeats", f.repeats)
	r.must("lost", f.lost)
	r.must("stale_accepted", f.stale)
	r.must("ended_wrong", wrong)
	r.add("failed_as_suspects", innocents)
	if refused == 0 {
		r.faultf("no late run was refused")
	}
	h.integrity(f.ending)
}

// unfair says why a harmless job must not be failed. One job in eleven kills
// its process, so a suspect may run with a job that kills for the first time.
// That death must not count against the suspect.
func unfair(f *history, id int64) string {
	// A process may die before it notes what it settled.
	if alone := f.alone(id); alone < child.MaxCrashes-1 {
		return fmt.Sprintf("it was alone in %d deaths of its processes", alone)
	}
	return ""
}

// judge says what is wrong with how a job ended. Alone is how many of its
// processes died while they ran nothing else.
func (m misbehavior) judge(j child.Job, runs []*run, alone int) string {
	starts := 0
	for _, run := range runs {
		if run.started > 0 {
			starts++
		}
	}
	switch {
	case j.State != m.state:
		return "is not " + m.state
	case !strings.Contains(j.Error, m.text):
		return fmt.Sprintf("has an error without %q", m.text)
	case !utf8.ValidString(j.Error) || strings.ContainsRune(j.Error, 0):
		return "has an error that is no text"
	case m.fatal && (j.Crashes != child.MaxCrashes || starts < child.MaxCrashes || alone > child.MaxCrashes+1):
		return fmt.Sprintf("has crashed %d times, was started %d times, and was alone in %d of its deaths", j.Crashes, starts, alone)
	case !m.fatal && m.state == "failed" && (j.Failures != 2 || j.Crashes != 0):
		return "did not spend its attempts"
	}
	return ""
}
