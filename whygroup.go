package plainjobs

import (
	"context"
	"fmt"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// whyNeeds returns why a job waits for those on which it depends.
func (q *Queue) whyNeeds(ctx context.Context, i *Info, workers []Worker) (string, error) {
	store, err := capability[backend.GateStore](q, "why")
	if err != nil {
		return "", err
	}
	need, err := engine.NeedOf(ctx, store, i.needs)
	if err != nil {
		return "", fmt.Errorf("plainjobs: why: %w", err)
	}
	if need.Open == 0 {
		return "The jobs that it depends on have ended: a worker releases it.", nil
	}
	var open []string
	for _, gate := range need.Gates {
		if len(open) == whyShown {
			break
		}
		jobs, _, err := q.List(ctx, Filter{Group: gate}, 0, 100)
		if err != nil {
			return "", err
		}
		for k := range jobs {
			if j := &jobs[k]; !j.State.Terminal() && len(open) < whyShown {
				open = append(open, fmt.Sprintf("%s #%d is %v", j.Name, j.ID, j.State))
			}
		}
	}
	text := "It waits for the only job that it depends on"
	if need.Total > 1 {
		text = fmt.Sprintf("It waits for %s of the %s jobs that it depends on", engine.Thousands(need.Open), engine.Thousands(need.Total))
	}
	if need.Failed+need.Cancelled > 0 {
		text += engine.GroupFailures(&GroupInfo{Failed: need.Failed, Cancelled: need.Cancelled})
	}
	if len(open) > 0 {
		text += ": " + strings.Join(open, ", ")
		if need.Open > int64(len(open)) {
			text += ", and others"
		}
	}
	return text + "." + unknownName(i, workers), nil
}

// whyShown is the most jobs that Why names.
const whyShown = 3

// unknownName returns a sentence if no live worker knows the job's name, which begins with a
// space.
func unknownName(i *Info, workers []Worker) string {
	if alive, known := live(workers, i.Name); alive > 0 && known == 0 {
		return fmt.Sprintf(" No live worker knows the name %s: deploy one that defines it.", i.Name)
	}
	return ""
}

// whyBehind returns why a callback waits for its group.
func (q *Queue) whyBehind(ctx context.Context, i *Info, workers []Worker) (string, error) {
	g, err := q.GroupByID(i.CallbackOf).Info(ctx)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("It is the %s callback of %s, which ", i.CallbackOn, engine.GroupName(&g))
	switch {
	case !g.EndedAt.IsZero():
		text += "has ended: a worker releases the job."
	case g.Open == 0:
		text += fmt.Sprintf("is not sealed: its %s jobs have ended%s, and it ends when the program calls Seal.", engine.Thousands(g.Total), engine.GroupFailures(&g))
	default:
		text += fmt.Sprintf("waits for %s of %s jobs%s", engine.Thousands(g.Open), engine.Thousands(g.Total), engine.GroupFailures(&g))
		if !g.Sealed {
			text += ", and for Seal"
		}
		text += "."
	}
	if !g.Deadline.IsZero() && g.EndedAt.IsZero() {
		text += fmt.Sprintf(" The group ends at %s at the latest.", stamp(g.Deadline))
	}
	return text + unknownName(i, workers), nil
}

// whyPaused returns that a group of a job is paused, or an empty string.
func (q *Queue) whyPaused(ctx context.Context, i *Info) (string, error) {
	if len(i.Groups) == 0 {
		return "", nil
	}
	store, err := capability[backend.GateStore](q, "why")
	if err != nil {
		return "", err
	}
	groups, err := store.Gates(ctx, backend.GateQuery{IDs: i.Groups})
	if err != nil {
		return "", fmt.Errorf("plainjobs: why: %w", err)
	}
	for k := range groups {
		if g := &groups[k]; g.Paused && g.EndedAt.IsZero() {
			text := fmt.Sprintf("Its group is paused: no member of %s starts until it is resumed, with group %d --resume.", engine.GroupName(g), g.ID)
			if !g.Deadline.IsZero() {
				text += fmt.Sprintf(" The group ends at %s at the latest, also while it is paused.", stamp(g.Deadline))
			}
			return text, nil
		}
	}
	return "", nil
}
