package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Override sets options of the jobs of a name at run time, for all processes. They apply
// instead of what programs define, also after restarts and deploys. An option that an
// earlier call gave and this one does not give stays. Without options, Override resets all
// of the name. by is who does it, for [Queue.Names] and [Queue.Actions].
//
// The options are [MaxRunning], [RateLimit], [Keep], [MaxCrashes], [Concurrency] and
// [FairWeight].
// MaxRunning(-1), RateLimit(-1, 0) and Concurrency(-1) lift a limit. Claims use the new
// values at once, and a running worker uses Concurrency within a quarter of its lease. If a
// limit is below what runs, these runs continue, and none starts until fewer run.
func (q *Queue) Override(ctx context.Context, name, by string, opts ...DefineOption) error {
	o := backend.Override{By: by}
	var errs []error
	for _, opt := range opts {
		d := engine.Definition{Overrides: true}
		if err := opt.define(&d); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := addTo(&o, &d); err != nil {
			errs = append(errs, err)
		}
	}
	o.Name = name
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("plainjobs: override %s: %w: %w", name, backend.ErrInvalid, err)
	}
	setter, err := capability[backend.SettingsStore](q, "override")
	if err != nil {
		return err
	}
	if err := setter.Override(ctx, o, len(opts) == 0); err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	return q.recordOverride(ctx, o, len(opts) == 0)
}

// addTo adds what an option has set in d to o.
func addTo(o *backend.Override, d *engine.Definition) error {
	switch s := d.Settings; {
	case s.MaxRunning != 0:
		o.MaxRunning = s.MaxRunning
	case s.Rate != 0:
		o.Rate, o.Per = s.Rate, s.Per
	case s.MaxCrashes != 0:
		o.MaxCrashes = s.MaxCrashes
	case s.History != (History{}):
		o.History = s.History
	case d.Concurrency != 0:
		o.Concurrency = d.Concurrency
	case d.Weights != nil:
		if o.Weights == nil {
			o.Weights = map[string]int{}
		}
		maps.Copy(o.Weights, d.Weights)
	default:
		return errors.New("it takes the options MaxRunning, RateLimit, Keep, MaxCrashes, Concurrency and FairWeight, and Keep with a field; change others in the program")
	}
	return nil
}

// recordOverride adds an override to the actions of the store.
func (q *Queue) recordOverride(ctx context.Context, o backend.Override, reset bool) error {
	operator, ok := q.engine().Backend.(backend.Operator)
	if !ok {
		return nil
	}
	a := Action{By: o.By, What: "override", On: o.Name + ": " + engine.OverrideText(o), Total: -1, End: "done"}
	if reset {
		a.What, a.On = "reset", o.Name
	}
	if _, err := operator.RecordAction(ctx, a); err != nil {
		return fmt.Errorf("plainjobs: the override of %s applies, but it is not among the actions: %w", o.Name, err)
	}
	return nil
}
