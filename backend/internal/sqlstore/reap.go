package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Steps runs the steps of one Reap. If a step fails, the others still run.
type Steps struct {
	Ctx context.Context
	Err error // the first error
}

// shares is the divisor of the remaining time that gives one step's limit: a step may wait for a
// lock whose holder is gone, and the others must still run.
const shares = 4

// Attempt runs a step within its share of the time, unless the context has ended. The function
// late marks the error of a step whose share has ended: it must not look like the end of the
// caller's context.
func (s *Steps) Attempt(f func(context.Context) error, late func(error) error) {
	if s.Ctx.Err() != nil {
		s.Err = cmp.Or(s.Err, s.Ctx.Err())
		return
	}
	ctx, cancel := s.Ctx, context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok {
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/shares)
	}
	defer cancel()
	err := f(ctx)
	if err != nil && ctx.Err() != nil && s.Ctx.Err() == nil {
		err = late(fmt.Errorf("%w: a step took more than its share of the time; a transaction of the application that enqueues or "+
			"completes jobs blocks others until it ends: keep it short (%v)", backend.ErrUnavailable, err))
	}
	s.Err = cmp.Or(s.Err, err)
}
