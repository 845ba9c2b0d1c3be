package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// checkGating returns what is wrong with g, or nothing. Negative IDs stand for that number of new
// gates.
func checkGating(g *backend.Gating, created int) string {
	if g == nil {
		return ""
	}
	switch {
	case len(g.Gates) > maxGates:
		return fmt.Sprintf("it counts in %d gates, at most %d", len(g.Gates), maxGates)
	case (g.Gate == 0) != (g.When == 0) || g.When > backend.NeedsEnded:
		return fmt.Sprintf("it waits behind gate %d with the condition %d", g.Gate, g.When)
	case g.Gate != 0 && !known(g.Gate, created):
		return fmt.Sprintf("there is no gate %d", g.Gate)
	case g.Gate != 0 && slices.Contains(g.Gates, g.Gate):
		return fmt.Sprintf("it counts in gate %d and waits behind it", g.Gate)
	}
	for i, id := range g.Gates {
		switch {
		case !known(id, created):
			return fmt.Sprintf("there is no gate %d", id)
		case slices.Contains(g.Gates[:i], id):
			return fmt.Sprintf("it counts twice in gate %d", id)
		}
	}
	return ""
}

// known reports whether a gate may have the ID, or the ID stands for one of that number of new gates.
func known(id int64, created int) bool { return id > 0 || id < 0 && -1-id < int64(created) }

// CreateGates returns an error unless req is valid for the store that d describes.
func CreateGates(d backend.Description, req backend.GateRequest) error {
	if len(req.Gates) == 0 {
		return fmt.Errorf("%w: no gates to create", backend.ErrInvalid)
	}
	for i, g := range req.Gates {
		switch {
		case Key(g.Label) != nil:
			return fmt.Errorf("gate %d: label: %w", i, Key(g.Label))
		case g.Parent != 0 && !known(g.Parent, i):
			return fmt.Errorf("%w: gate %d: its parent %d is not an earlier gate", backend.ErrInvalid, i, g.Parent)
		case g.Kind > backend.HubGate:
			return fmt.Errorf("%w: gate %d: unknown kind %d", backend.ErrInvalid, i, g.Kind)
		case g.Awaits != 0 && (g.Awaits > 0 || !known(g.Awaits, i) || req.Gates[-1-g.Awaits].Kind != backend.HubGate):
			return fmt.Errorf("%w: gate %d: it awaits %d, which is not an earlier hub of the request", backend.ErrInvalid, i, g.Awaits)
		case g.Deadline < 0 || g.Deadline > maxDelay:
			return fmt.Errorf("%w: gate %d: deadline in %v is not within 0 and 100 years", backend.ErrInvalid, i, g.Deadline)
		}
	}
	if err := newJobs(req.Jobs, len(req.Gates)); err != nil {
		return err
	}
	if err := Payloads(req.Jobs, d.MaxPayload); err != nil {
		return err
	}
	for i := range req.Jobs {
		if err := Fields(d, &req.Jobs[i]); err != nil {
			return fmt.Errorf("job %d: %w", i, err)
		}
	}
	return nil
}

// Gates returns the maximum number of gates that the query asks for, or an error.
func Gates(q backend.GateQuery) (int, error) {
	switch {
	case len(q.IDs) > maxPage:
		return 0, fmt.Errorf("%w: %d IDs, at most %d at once", backend.ErrInvalid, len(q.IDs), maxPage)
	case q.Limit < 0 || q.Limit > maxPage:
		return 0, fmt.Errorf("%w: gate limit %d is not within 1 and %d", backend.ErrInvalid, q.Limit, maxPage)
	case q.Before < 0 || q.Parent < 0:
		return 0, fmt.Errorf("%w: gates before %d of parent %d", backend.ErrInvalid, q.Before, q.Parent)
	}
	return cmp.Or(q.Limit, max(100, len(q.IDs))), nil
}

// gates returns an error unless the gates may be imported.
func gates(all []backend.GateInfo) error {
	last := int64(0)
	for _, g := range all {
		switch {
		case g.ID <= last || g.ID > MaxID:
			return fmt.Errorf("%w: gate %d comes after gate %d; IDs ascend and are within 1 and %d", backend.ErrInvalid, g.ID, last, int64(MaxID))
		case Key(g.Label) != nil:
			return fmt.Errorf("gate %d: label: %w", g.ID, Key(g.Label))
		case g.Kind > backend.HubGate:
			return fmt.Errorf("%w: gate %d: unknown kind %d", backend.ErrInvalid, g.ID, g.Kind)
		case g.Awaits < 0 || g.Awaits >= g.ID || g.Awaiting && g.Awaits == 0:
			return fmt.Errorf("%w: gate %d: it awaits %d, which is not an earlier gate", backend.ErrInvalid, g.ID, g.Awaits)
		case g.Parent < 0 || g.Parent == g.ID:
			return fmt.Errorf("%w: gate %d: its parent is %d", backend.ErrInvalid, g.ID, g.Parent)
		case min(g.Total, g.Open, g.Done, g.Failed, g.Cancelled) < 0 || g.Open+g.Done+g.Failed+g.Cancelled != g.Total:
			return fmt.Errorf("%w: gate %d: of %d members, %d are open, %d done, %d failed and %d cancelled", backend.ErrInvalid, g.ID, g.Total, g.Open, g.Done, g.Failed, g.Cancelled)
		case g.CreatedAt.IsZero():
			return fmt.Errorf("%w: gate %d: it has no time of creation", backend.ErrInvalid, g.ID)
		}
		last = g.ID
	}
	return nil
}
