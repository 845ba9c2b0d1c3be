package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

// Reap implements [backend.Backend].
func (b *Backend) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if err := check.Reap(req); err != nil {
		return backend.ReapResult{}, fmt.Errorf("postgres: reap: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.ReapResult{}, b.failed(ctx, "reap", err)
	}
	defer leave()
	r := &reaping{b: b, Steps: sqlstore.Steps{Ctx: ctx}, req: req, limit: cmp.Or(req.Limit, 1000)}
	r.rescueAll()
	r.step(func(t *tx, result *backend.ReapResult) (err error) {
		result.Due, err = t.promote(r.limit)
		result.More = result.More || result.Due >= r.limit // up to limit jobs with a fair key, and as many without
		return err
	})
	r.step(func(t *tx, result *backend.ReapResult) (err error) {
		result.Expired, err = t.expire(r.limit)
		result.More = result.More || result.Expired == r.limit
		return err
	})
	r.step(func(t *tx, result *backend.ReapResult) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		n, err := t.execN(deleteKept, now, r.limit)
		if err != nil {
			return err
		}
		result.More = result.More || n == int64(r.limit)
		if _, err := t.exec(deleteOldSignals, now-backend.KeepSignals.Microseconds(), r.limit); err != nil {
			return err
		}
		if err := t.retire(now); err != nil {
			return err
		}
		more, err := t.foldActivity(now, r.limit)
		result.More = result.More || more
		return err
	})
	r.step(func(t *tx, _ *backend.ReapResult) error { return t.compactAllCounts() })
	r.reapGates()
	r.attempt(b.audit)
	r.attempt(func(ctx context.Context) error {
		pruned, more, err := b.pruneSome(ctx, r.limit)
		r.result.Pruned, r.result.More = pruned, r.result.More || more
		return err
	})
	return r.result, b.failed(ctx, "reap", r.Err)
}

// A reaping is one run of Reap. If a step fails, the others still run.
type reaping struct {
	b *Backend
	sqlstore.Steps
	req    backend.ReapRequest
	limit  int
	result backend.ReapResult
	gates  []int64 // to be folded
}

// attempt runs a step within its share of the time; see Steps.
func (r *reaping) attempt(f func(context.Context) error) {
	r.Attempt(f, func(err error) error { return rejected{err} })
}

// step runs a step in a transaction. If it fails, its part of the result is undone.
func (r *reaping) step(f func(t *tx, result *backend.ReapResult) error) {
	r.attempt(func(ctx context.Context) error {
		after, gates := r.result, []int64(nil)
		err := r.b.transact(ctx, false, func(t *tx) error {
			after = r.result
			after.Workers = slices.Clone(r.result.Workers)
			err := f(t, &after)
			gates = t.gates.TakeFolds()
			return err
		})
		if err == nil {
			r.result, r.gates = after, append(r.gates, gates...)
		}
		return err
	})
}
