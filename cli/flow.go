package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// The most jobs of a flow that are shown.
const (
	flowLines   = 500    // as a tree
	flowObjects = 10_000 // with --json
)

func (p *program) flowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "flow ID [flags]",
		Short: "Show a flow: its jobs and what they depend on",
		Long: `Flow shows how far a flow has come, and its jobs as a tree. A job stands below the job
that it waits for longest; "and" names the others on which it depends, and "end of"
means in whatever way that one ends. A flow is a group: "group ID" cancels and deletes
it, and "jobs --group ID" lists its jobs.`,
		Example: `  flow 7
  flow 7 --json | jq '.jobs[] | select(.state == "failed")'
  group 7 --cancel`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		id, err := parseGroup(args[0])
		if err != nil {
			return err
		}
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		limit := flowLines
		if s.json {
			limit = flowObjects
		}
		g, err := engine.GraphOf(ctx, (*engine.Handle)(q).Queue().Backend, id, limit)
		switch {
		case errors.Is(err, plainjobs.ErrNotFound):
			return nothing("flow %d does not exist, or was deleted", id)
		case err != nil:
			return err
		case g.Kind != backend.FlowGate:
			return nothing("group %d is not a flow: group %d shows it", id, id)
		case s.json:
			return s.object(flowJSON(g))
		}
		return s.flow(g)
	})
}

// flow prints a flow as a table and a tree.
func (s *screen) flow(g *engine.FlowGraph) error {
	t := &table{header: []string{"FLOW", strconv.FormatInt(g.ID, 10)}}
	if g.Label != "" {
		t.add("label", g.Label)
	}
	t.add("state", groupCell(&g.GateInfo))
	t.add("jobs", engine.GroupProgress(&g.GateInfo))
	t.add("created", s.stamp(g.CreatedAt))
	if !g.Deadline.IsZero() {
		t.add("deadline", s.stamp(g.Deadline))
	}
	if !g.EndedAt.IsZero() {
		t.add("ended", s.stamp(g.EndedAt))
		t.add("took", short(g.EndedAt.Sub(g.CreatedAt)))
	}
	if err := s.print(t); err != nil {
		return err
	}
	if g.More {
		s.say("it has more than %s jobs: jobs --group %d lists them", engine.Thousands(flowLines), g.ID)
		return nil
	}
	below := map[int64][]*engine.FlowNode{}
	for _, n := range g.Nodes {
		at := int64(0)
		if last := lastNeed(n); last != nil {
			at = last.ID
		}
		below[at] = append(below[at], n)
	}
	branches := flowBranches(below, 0)
	for i := range g.Callbacks {
		j := &g.Callbacks[i]
		branches = append(branches, branch{text: jobCell(engine.CallbackName(j.Gating.When)+" ", j)})
	}
	fmt.Fprintln(s.out)
	s.tree("", branches)
	return nil
}

// lastNeed returns the job below which n stands, or nil.
func lastNeed(n *engine.FlowNode) (last *engine.FlowNode) {
	for _, a := range n.After {
		if last == nil || a.Layer > last.Layer {
			last = a
		}
	}
	return last
}

func flowBranches(below map[int64][]*engine.FlowNode, at int64) (all []branch) {
	for _, n := range below[at] {
		b := branch{jobCell("", &n.Info), flowBranches(below, n.ID)}
		last := lastNeed(n)
		var also []string
		for _, a := range n.After {
			switch {
			case a == last && n.Ended[a.ID]:
				b.text.text = "end: " + b.text.text
			case a == last:
			case n.Ended[a.ID]:
				also = append(also, fmt.Sprintf("end of #%d", a.ID))
			default:
				also = append(also, fmt.Sprintf("#%d", a.ID))
			}
		}
		if rest := len(also) - mostAlso; rest > 0 {
			also = append(also[:mostAlso], fmt.Sprintf("%d more", rest))
		}
		if len(also) > 0 {
			b.text.text += " (and " + strings.Join(also, ", ") + ")"
		}
		all = append(all, b)
	}
	return all
}

// mostAlso is the most jobs that a line of a tree names as needed, too.
const mostAlso = 8

// A flowRecord is the output of a flow with --json.
type flowRecord struct {
	groupRecord
	Jobs []flowJob `json:"jobs"`
	More bool      `json:"more,omitempty"` // the flow has too many jobs, and none is listed
}

type flowJob struct {
	ID       int64   `json:"id"`
	Name     string  `json:"name"`
	State    string  `json:"state"`
	After    []int64 `json:"after,omitempty"`
	AfterEnd []int64 `json:"after_end,omitempty"`
	Error    string  `json:"error,omitempty"`
}

func flowJSON(g *engine.FlowGraph) flowRecord {
	r := flowRecord{groupRecord: groupJSON(&engine.GroupTree{GateInfo: g.GateInfo, Callbacks: g.Callbacks}), Jobs: []flowJob{}, More: g.More}
	for _, n := range g.Nodes {
		j := flowJob{ID: n.ID, Name: n.Name, State: n.State.String()}
		for _, a := range n.After {
			if n.Ended[a.ID] {
				j.AfterEnd = append(j.AfterEnd, a.ID)
			} else {
				j.After = append(j.After, a.ID)
			}
		}
		if k := len(n.Errors); k > 0 {
			j.Error = n.Errors[k-1].Error
		}
		r.Jobs = append(r.Jobs, j)
	}
	return r
}
