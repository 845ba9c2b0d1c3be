package conformance

import (
	"cmp"
	"context"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var orderMutants = []mutant{{
	rule:     "the order of claims is that of IDs",
	rejected: []string{"order/turns", "order/due", "order/operator"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ordersByID{m} },
}, {
	rule:     "a job that is retried at once keeps its place",
	rejected: []string{"order/turns"},
	make: alters(altered{fail: func(f *backend.Failure) {
		if f.Delay == 0 {
			f.Ending = backend.EndRelease
		}
	}}),
}, {
	rule:     "a released job loses its place",
	rejected: []string{"order/kept", "fail/release"},
	make: alters(altered{fail: func(f *backend.Failure) {
		if f.Ending == backend.EndRelease {
			f.Ending, f.Expires = backend.EndSnooze, 0
		}
	}}),
}, {
	rule:     "a replaced job loses its place",
	rejected: []string{"order/kept"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Unique.Conflict == backend.Replace {
			j.Delay = 1000
		}
	}}),
}, {
	rule:     "a retry gives no priority",
	rejected: []string{"order/operator"},
	make:     alters(altered{operate: func(r *backend.OperateRequest) { r.Priority = nil }}),
}}

// ordersByID has what a claim takes in the order of the IDs, as if it had looked
// for them in that.
type ordersByID struct{ *memory.Backend }

func (b ordersByID) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	slices.SortFunc(jobs, func(x, y backend.Job) int {
		return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(x.ID, y.ID))
	})
	return jobs, err
}
