package torture

import "github.com/plainjobs/plainjobs/internal/torture/child"

var flowsTest = &Test{
	ID: "flows",
	About: "processes that create flows and run their jobs, which sleep and wait for signals between their steps, are killed, or kill themselves between two steps; " +
		"each job must end as what it depends on says, after that, and get its results",
	Unit:   "kills",
	Counts: []string{"kills", "at_points", "groups", "steps"},
	Short:  25, Full: 10_000,
	Mixed: true,
	run:   func(r *rig) { (&gating{rig: r, role: child.Flows}).all() },
}

// point returns where the next process kills itself, or an empty string.
func (g *gating) point() string {
	points := child.NodePoints()
	if g.role != child.Flows || g.random.IntN(2) == 0 {
		return ""
	}
	return points[g.random.IntN(len(points))]
}

// judgeFlows compares the jobs of flows with what they depend on.
func (g *gating) judgeFlows(e ending, effects map[int64]int, h *history) {
	byNumber := map[int64]child.Job{}
	for _, j := range e.jobs {
		byNumber[j.N] = j
	}
	first, last := map[int64]int64{}, map[int64]int64{} // notes of the steps of a job: of the first run of one, and that one is stored
	for _, n := range h.grouped {
		switch at := n.at; {
		case n.kind == child.NoteStep && (first[n.id] == 0 || at < first[n.id]):
			first[n.id] = at
		case n.kind == child.NoteStepped && n.other == lastStep(e.jobs[n.id]) && (last[n.id] == 0 || at < last[n.id]):
			last[n.id] = at
		}
	}
	wrong, early, depended := 0, 0, 0
	for id, j := range e.jobs {
		if child.IsCallback(j.N) {
			continue
		}
		want := "done"
		if j.Fails > 0 {
			want = "failed"
		}
		needs := child.NumbersOf(j.Needs)
		for _, n := range needs {
			if byNumber[n].State != "done" {
				want = "cancelled"
			}
		}
		if j.State != want || (effects[id] == 1) != (want == "done") {
			wrong++
			g.result.faultf("job %d is %s with %d effects, want it %s: %+v", id, j.State, effects[id], want, j)
		}
		for _, n := range append(needs, child.NumbersOf(j.After)...) {
			depended++
			before, ok := byNumber[n]
			if !ok || first[id] != 0 && before.State != "cancelled" && (last[before.ID] == 0 || last[before.ID] > first[id]) {
				early++
				g.result.faultf("job %d began before job %d, on which it depends, had ended: %+v", id, before.ID, j)
			}
		}
	}
	g.result.add("dependencies", depended)
	g.result.must("wrong_ends", wrong)
	g.result.must("early", early)
}

// lastStep returns the number of the last step that a job stores.
func lastStep(j child.Job) int64 {
	if j.Fails > 0 {
		return child.Steps - 1
	}
	return child.Steps
}
