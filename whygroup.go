package plainjobs

import (
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs/internal/engine"
)

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
	if alive, known := live(workers, i.Name); alive > 0 && known == 0 {
		text += fmt.Sprintf(" No live worker knows the name %s: deploy one that defines it.", i.Name)
	}
	return text, nil
}
