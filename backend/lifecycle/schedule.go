package lifecycle

import (
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// DefinedError refuses to store a schedule under a name that programs define.
func DefinedError(name string) error {
	return &nameError{name, "programs define a schedule of this name: use another name, or remove it from the programs first"}
}

// StoredError refuses to define a schedule whose name is that of a stored one.
func StoredError(name string) error {
	return &nameError{name, "a stored schedule has this name: use another name, or remove the stored one first"}
}

// ChangeStored returns what change makes, at now, of the stored schedule old of a name; nil means that
// there is none. live says that programs define a schedule of the name.
func ChangeStored(name string, old *backend.StoredSchedule, live bool, now time.Time,
	change func(now time.Time, old *backend.StoredSchedule) (*backend.StoredSchedule, error),
) (*backend.StoredSchedule, error) {
	next, err := change(now, old)
	if err != nil || next == nil {
		return nil, err
	}
	if err := check.StoredSchedule(name, next); err != nil {
		return nil, err
	}
	if live {
		return nil, DefinedError(name)
	}
	return next, nil
}

// A nameError matches [backend.ErrInvalid].
type nameError struct{ name, text string }

func (e *nameError) Error() string { return "schedule " + e.name + ": " + e.text }

func (e *nameError) Is(target error) bool { return target == backend.ErrInvalid }

// A Ticking is what one call of TickStored does.
type Ticking struct {
	Taken []bool           // the answer for each tick
	Jobs  []backend.NewJob // to push

	changed []*backend.StoredSchedule
	pushes  []int // how many of Jobs are of each element of changed
}

// TickAll applies ticks at now, the store's clock, to the stored schedules of their names, where nil
// is none.
func TickAll(stored []*backend.StoredSchedule, ticks []backend.Tick, now time.Time) *Ticking {
	t := &Ticking{Taken: make([]bool, len(ticks))}
	for i, s := range stored {
		tick := &ticks[i]
		if s == nil || tick.Due.UnixMicro() != s.Next.UnixMicro() || tick.Definition != s.Definition || s.Next.UnixMicro() > now.UnixMicro() {
			continue
		}
		next, pushes := *s, 0
		if tick.Defer.IsZero() {
			t.Taken[i] = true
			if !s.Paused {
				next.Last, pushes = s.Next, len(tick.Jobs)
				t.Jobs = append(t.Jobs, tick.Jobs...)
			}
			next.Next, next.Look, next.Problem = tick.Next, tick.Next, ""
		} else {
			next.Look, next.Problem = tick.Defer, tick.Problem
		}
		t.changed, t.pushes = append(t.changed, &next), append(t.pushes, pushes)
	}
	return t
}

// Changed returns the schedules that change, after the push of Jobs.
func (t *Ticking) Changed(pushed []backend.Pushed) []*backend.StoredSchedule {
	for i, s := range t.changed {
		s.Runs = slices.Clone(s.Runs)
		for _, p := range pushed[:t.pushes[i]] {
			if !p.Duplicate {
				s.Runs = slices.Insert(s.Runs, 0, p.ID)
			}
		}
		pushed = pushed[t.pushes[i]:]
		s.Runs = s.Runs[:min(len(s.Runs), backend.KeepRuns)]
	}
	return t.changed
}

// WithPrefix returns the schedules, which are ordered by name and not below prefix, up to the first
// whose name does not begin with it.
func WithPrefix(all []backend.StoredSchedule, prefix string) []backend.StoredSchedule {
	for i := range all {
		if !strings.HasPrefix(all[i].Name, prefix) {
			return all[:i]
		}
	}
	return all
}
