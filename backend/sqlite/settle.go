package sqlite

import (
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Fail implements [backend.Backend].
func (b *Backend) Fail(ctx context.Context, failures []backend.Failure) (lost []backend.Lease, err error) {
	if err := check.Fail(failures); err != nil {
		return nil, fmt.Errorf("sqlite: fail: %w", err)
	}
	if len(failures) == 0 {
		return nil, nil
	}
	// A job in a terminal state must not run again after a power cut. A retry or a
	// snooze may be lost.
	ends := slices.ContainsFunc(failures, func(f backend.Failure) bool { return lifecycle.StateAfter(f.Ending, f.Delay).Terminal() })
	err = b.write(ctx, &request{op: "fail", firm: ends, run: func(t *tx) error {
		lost = lost[:0]
		now := b.now()
		if _, err := t.settings(); err != nil { // limited names wake waiters
			return err
		}
		for i := range failures {
			f := &failures[i]
			r, err := t.row(f.ID)
			if err != nil {
				return err
			}
			switch r.Judge(f.Token, f.Ending) {
			case lifecycle.Lost:
				lost = append(lost, f.Lease)
			case lifecycle.Held:
				if err := b.fail(t, f, r, now); err != nil {
					return err
				}
			case lifecycle.Repeated:
			}
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// fail ends one run.
func (b *Backend) fail(t *tx, f *backend.Failure, r row, now int64) error {
	t.settle(f.Lease)
	if err := t.ran(f.Lease, f.Took, now); err != nil {
		return err
	}
	if f.Result != nil {
		if _, err := t.exec(upsertResult, f.ID, f.Result); err != nil {
			return err
		}
		r.flags |= flagResult
	}
	next, e := r.Fail(f, now)
	if r.flags&flagWaits != 0 || f.Ending == backend.EndSleep {
		if err := b.fallAsleep(t, f, &r, &next, now); err != nil {
			return err
		}
	}
	return b.requeue(t, r, next, e, now)
}
