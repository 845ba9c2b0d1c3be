package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// The most of a flow that is drawn.
const (
	drawnJobs   = 300
	drawnLayers = 60 // jobs of one layer, or layers
	drawnEdges  = 2000
)

// The sizes of a drawing, in pixels.
const (
	boxWidth, boxHeight = 176, 46
	boxGapX, boxGapY    = 56, 14
)

// A drawing is the graph of a flow: a box for each job, in the column after those on which it
// depends, and a line for each edge.
type drawing struct {
	Width, Height int
	Boxes         []box
	Edges         []edge
	Total         string // of jobs, which are too many to be drawn
}

type box struct {
	X, Y        int
	Name, State string
	ID          int64
	Href        string // empty if the sender may not see the job
	After       string // on which it depends, in words
}

type edge struct {
	Path  string
	Ended bool // the job at its beginning may end in any way
}

// draw returns the graph of a flow, or nil for a group that is none.
func (h *handler) draw(ctx context.Context, rq *request, g *backend.GateInfo) (*drawing, error) {
	if g.Kind != backend.FlowGate {
		return nil, nil
	}
	graph, err := engine.GraphOf(ctx, h.backend, g.ID, drawnJobs)
	if err != nil {
		return nil, err
	}
	many := &drawing{Total: grouped(g.Total)}
	if graph.More {
		return many, nil
	}
	columns := columnsOf(graph.Nodes)
	edges, highest := 0, len(columns)
	for _, n := range graph.Nodes {
		edges += len(n.After)
	}
	for _, c := range columns {
		highest = max(highest, len(c))
	}
	if edges > drawnEdges || highest > drawnLayers {
		return many, nil
	}
	return rq.drawn(columns), nil
}

// columnsOf returns the jobs by layer, those of a layer beside what they depend on.
func columnsOf(nodes []*engine.FlowNode) (columns [][]*engine.FlowNode) {
	for _, n := range nodes {
		for len(columns) <= n.Layer {
			columns = append(columns, nil)
		}
		columns[n.Layer] = append(columns[n.Layer], n)
	}
	place := map[int64]float64{}
	for _, c := range columns {
		mean := map[int64]float64{}
		for _, n := range c {
			for _, a := range n.After {
				mean[n.ID] += place[a.ID] / float64(len(n.After))
			}
		}
		slices.SortFunc(c, func(a, b *engine.FlowNode) int {
			return cmp.Or(cmp.Compare(mean[a.ID], mean[b.ID]), cmp.Compare(a.ID, b.ID))
		})
		for i, n := range c {
			place[n.ID] = (float64(i) + 0.5) / float64(len(c))
		}
	}
	return columns
}

func (rq *request) drawn(columns [][]*engine.FlowNode) *drawing {
	d := &drawing{Width: len(columns)*(boxWidth+boxGapX) - boxGapX + 2}
	highest := 0
	for _, c := range columns {
		highest = max(highest, len(c))
	}
	d.Height = highest*(boxHeight+boxGapY) - boxGapY + 2
	type point struct{ x, y int }
	at := map[int64]point{}
	for x, c := range columns {
		top := (highest - len(c)) * (boxHeight + boxGapY) / 2
		for y, n := range c {
			p := point{1 + x*(boxWidth+boxGapX), 1 + top + y*(boxHeight+boxGapY)}
			at[n.ID] = p
			b := box{X: p.x, Y: p.y, ID: n.ID, State: n.State.String(), Name: "hidden", After: afterText(n)}
			if rq.maySee(n.Name) {
				b.Name, b.Href = cut(n.Name, 22), jobHref(n.ID)
			}
			d.Boxes = append(d.Boxes, b)
			for _, a := range n.After {
				from := at[a.ID]
				x1, y1, x2, y2 := from.x+boxWidth, from.y+boxHeight/2, p.x, p.y+boxHeight/2
				bend := (x2 - x1) / 2
				d.Edges = append(d.Edges, edge{fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2), n.Ended[a.ID]})
			}
		}
	}
	return d
}

// afterText returns the jobs on which n depends.
func afterText(n *engine.FlowNode) string {
	var all []string
	for i, a := range n.After {
		if i == 10 {
			all = append(all, fmt.Sprintf("%d more", len(n.After)-i))
			break
		}
		text := fmt.Sprintf("#%d", a.ID)
		if n.Ended[a.ID] {
			text = "the end of " + text
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// needsOthers reports whether a job waits for others of its flow.
func needsOthers(j *plainjobs.Info) bool {
	return j.State == plainjobs.Blocked && j.BlockedBy == 0 && j.CallbackOf == 0 && len(j.Groups) > 0
}
