package torture

import (
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var gatesTest = &Test{
	ID:     "gates",
	About:  "processes that create groups and run their members, whose handlers have steps, are killed; every callback must exist once and run, and no step that is stored may run again",
	Unit:   "kills",
	Counts: []string{"kills", "groups", "steps"},
	Short:  25, Full: 10_000,
	Mixed: true,
	run:   gates,
}

const (
	gateProcesses = 3
	// groupPause is the pause of a process after each group that it creates.
	groupPause = 60 * time.Millisecond
)

func gates(r *rig) { (&gating{rig: r, role: child.Groups}).all() }

// A gating is one run of the test.
type gating struct {
	*rig
	role    child.Role
	server  *process
	workers [gateProcesses]*process
	started int64
	kills   int
	points  int // at which processes killed themselves
}

func (g *gating) all() {
	g.server = g.rig.server()
	for i := range g.workers {
		g.workers[i] = g.worker(groupPause, "")
	}
	for g.kills < g.Rounds && g.more() {
		i := g.random.IntN(len(g.workers))
		g.killOne(g.workers[i])
		g.workers[i] = g.worker(groupPause, g.point())
		g.tell("%d of %d kills; %d members acknowledged", g.kills, g.Rounds, g.acks.count())
	}
	check(g.ctx.Err())
	for i := range g.workers {
		g.workers[i].kill()
		g.workers[i] = g.worker(groupPause, "")
	}
	g.end()
}

// killOne kills a process, unless it kills itself.
func (g *gating) killOne(p *process) {
	// Some processes die while they open the file, most while they work.
	if g.random.IntN(4) > 0 {
		select {
		case <-p.ready:
		case <-p.ended:
		case <-g.ctx.Done():
		case <-time.After(patience):
		}
	}
	wait := time.NewTimer(g.between(0, 150*time.Millisecond))
	defer wait.Stop()
	select {
	case <-p.ended:
	case <-wait.C:
	}
	if p.over() {
		g.points++
		if !p.died() || p.cmd.ProcessState.Exited() {
			g.result.faultf("%v", p.failure())
		}
	}
	g.kills++
	p.kill()
}

func (g *gating) worker(pause time.Duration, point string) *process {
	g.started++
	return g.spawn(child.Order{
		Role: g.role, Concurrency: killConcurrency, Lease: shortLease, Grace: time.Second, Pause: pause, First: g.started * numbersEach,
		Point: point, Hit: 1 + g.random.IntN(5),
	})
}

// end seals the groups whose creators died, waits for the rest, and judges the result.
func (g *gating) end() {
	each(g.workers[:], (*process).begun)
	each(g.workers[:], (*process).stop)
	for i := range g.workers {
		g.workers[i] = g.worker(0, "")
	}
	unsealed := g.server.ask(child.Command{Op: child.OpSeal}).N
	took := g.drain(g.server, 10*shortLease+20*time.Second)
	open := int64(0)
	for until := time.Now().Add(10*shortLease + 20*time.Second); ; g.pause(50 * time.Millisecond) {
		if open = g.server.ask(child.Command{Op: child.OpSeal}).N; open == 0 || time.Now().After(until) {
			break
		}
	}
	took += g.drain(g.server, 10*shortLease+20*time.Second)
	each(g.workers[:], (*process).stop)
	stored := g.server.ask(child.Command{Op: child.OpGroups}).Groups
	effects := g.server.ask(child.Command{Op: child.OpEffects}).Effects
	e := g.inspect(g.server)
	g.server.stop()
	check(g.acks.close())
	h := g.history()
	r := &g.result
	r.add("kills", g.kills)
	r.add("groups", len(stored))
	r.add("open_at_the_end", unsealed)
	r.must("never_ended", int(open))
	g.judgeGroups(stored, h)
	g.judgeMembers(e, effects)
	g.judgeSteps(h)
	if g.role == child.Flows {
		r.add("at_points", g.points)
		g.judgeFlows(e, effects, h)
	}
	r.must("errors", len(h.callErrors))
	for _, t := range h.callErrors {
		r.faultf("call on %s: %s", t.p.driver, t.text)
	}
	g.integrity(e)
	r.add("drain", took)
}

// judgeGroups compares the groups with their members, and with the runs of their callbacks.
func (g *gating) judgeGroups(stored []child.Group, h *history) {
	ran, there := map[int64]int{}, map[int64]bool{}
	for _, n := range h.grouped {
		if n.kind == child.NoteCallback {
			ran[n.id]++
		}
	}
	wrong, callbacks := 0, 0
	fault := func(format string, args ...any) {
		wrong++
		g.result.faultf(format, args...)
	}
	for i := range stored {
		s := &stored[i]
		there[s.ID] = true
		if s.Done != s.Members["done"] || s.Failed != s.Members["failed"] || s.Cancelled != s.Members["cancelled"] || s.Total != s.Done+s.Failed+s.Cancelled {
			fault("group %d counts otherwise than its members: %+v", s.ID, *s)
		}
		want := map[string]string{"OnEnd": "done", "OnDone": "done"}
		if s.Failed+s.Cancelled > 0 {
			want["OnDone"] = "cancelled"
		}
		if s.Failed > 0 {
			want["OnFailure"] = "done"
		}
		for _, c := range s.Callbacks {
			callbacks++
			if want[c.On] != c.State {
				fault("callback %d (%s) of group %d is %s, want %q: %+v", c.ID, c.On, s.ID, c.State, want[c.On], *s)
			}
			if (ran[c.ID] > 0) != (c.State == "done") {
				fault("callback %d of group %d is %s and has run %d times", c.ID, s.ID, c.State, ran[c.ID])
			}
			delete(want, c.On)
		}
		for on := range want {
			fault("group %d has no callback %s, or two of another: %+v", s.ID, on, *s)
		}
	}
	lost := 0
	for _, n := range h.grouped {
		if n.kind == child.NoteGroup && !there[n.id] {
			lost++
			g.result.faultf("group %d was created and is not there", n.id)
		}
	}
	g.result.add("callbacks", callbacks)
	g.result.must("wrong_groups", wrong)
	g.result.must("lost_groups", lost)
}

// judgeMembers checks that each acknowledged member is there, once, and has had its effect.
func (g *gating) judgeMembers(e ending, effects map[int64]int) {
	numbers := map[int64]int64{}
	doubled, unfinished, wrong := 0, 0, 0
	for id, j := range e.jobs {
		if other, ok := numbers[j.N]; ok {
			doubled++
			g.result.faultf("jobs %d and %d are of task %d", other, id, j.N)
		}
		numbers[j.N] = id
		member := !child.IsCallback(j.N)
		switch {
		case j.State != "done" && j.State != "failed" && j.State != "cancelled":
			unfinished++
			g.result.faultf("job %d is %s at the end: %+v", id, j.State, j)
		case member && j.State == "done" && effects[id] != 1, effects[id] > 1:
			wrong++
			g.result.faultf("job %d is %s and has had its effect %d times", id, j.State, effects[id])
		}
	}
	lost := 0
	for id, n := range g.acks.ids {
		if j, ok := e.jobs[id]; !ok || j.N != n {
			lost++
			g.result.faultf("member %d was acknowledged for task %d; there is %+v", id, n, j)
		}
	}
	g.result.add("members", len(e.jobs))
	g.result.must("missing", lost)
	g.result.must("doubled", doubled)
	g.result.must("waiting_forever", unfinished)
	g.result.must("effects_wrong", wrong)
}

// judgeSteps checks that no step ran after it was stored.
func (g *gating) judgeSteps(h *history) {
	type step struct{ job, number int64 }
	stored := map[step]int64{}
	runs := map[step]int{}
	for _, n := range h.grouped {
		if s := (step{n.id, n.other}); n.kind == child.NoteStepped && (stored[s] == 0 || n.at < stored[s]) {
			stored[s] = n.at
		}
	}
	repeated, again := 0, 0
	for _, n := range h.grouped {
		s := step{n.id, n.other}
		if n.kind != child.NoteStep {
			continue
		}
		if runs[s]++; runs[s] > 1 {
			repeated++
		}
		if at := stored[s]; at != 0 && n.at > at {
			again++
			g.result.faultf("step %d of job %d ran %d µs after it was stored", s.number, s.job, n.at-at)
		}
	}
	g.result.add("steps", len(stored))
	g.result.add("steps_in_progress", repeated)
	g.result.must("steps_again", again)
}
