package conformance

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var fairMutants = []mutant{{
	rule:     "fair keys are ignored",
	rejected: []string{"fair/turns", "fair/batch", "fair/newcomer", "fair/priority", "fair/names", "fair/due", "fair/read", "fair/import", "fair/race", "fair/weights"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Fair = "" }}),
}, {
	rule:     "all fair keys are one",
	rejected: []string{"fair/turns", "fair/batch", "fair/newcomer", "fair/priority", "fair/read", "fair/race", "fair/weights"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Fair != "" {
			j.Fair = "x"
		}
	}}),
}, {
	rule:     "a delayed job takes no turn",
	rejected: []string{"fair/due"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Delay > 0 {
			j.Fair = ""
		}
	}}),
}, {
	rule:     "a released job with a fair key takes another turn",
	rejected: []string{"fair/kept"},
	make: alters(altered{fail: func(f *backend.Failure) {
		if f.Ending == backend.EndRelease {
			f.Ending, f.Expires = backend.EndSnooze, 0
		}
	}}),
}, {
	rule:     "a job with a serial key takes no turn when it is unblocked",
	rejected: []string{"fair/unblocked"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Serial != "" {
			j.Fair = ""
		}
	}}),
}, {
	rule:     "weights are ignored when turns are taken",
	rejected: []string{"fair/weights"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return weightless{m} },
}, {
	rule:     "an import forgets fair keys",
	rejected: []string{"fair/read", "fair/import"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return forgetsFair{m} },
}, {
	rule:     "a fair key may be of any length",
	rejected: []string{"fair/invalid"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if len(j.Fair) > 3 {
			j.Fair = j.Fair[:3]
		}
	}}),
}}

// forgetsFair exports no fair keys.
type forgetsFair struct{ *memory.Backend }

func (b forgetsFair) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	batch, err := b.Backend.Export(ctx, req)
	for i := range batch.Jobs {
		batch.Jobs[i].FairKey = ""
	}
	return batch, err
}

// weightless shows weights that it does not have.
type weightless struct{ *memory.Backend }

func (b weightless) Override(ctx context.Context, o backend.Override, reset bool) error {
	if check.Override(o) == nil {
		o.Weights = nil
	}
	return b.Backend.Override(ctx, o, reset)
}
