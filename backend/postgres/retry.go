package postgres

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

// retry calls f until it returns no conflict; see sqlstore.Retry.
func (b *Backend) retry(ctx context.Context, f func() error) error {
	return b.retryUntil(ctx, time.Now().Add(lockWait), f)
}

// retryUntil is retry with its own time limit.
func (b *Backend) retryUntil(ctx context.Context, until time.Time, f func() error) error {
	return sqlstore.Retry(ctx, until, conflicts, f)
}

// again marks err so that retry tries again, if the connection was lost and another
// one may work. Nothing must have been stored.
func again(ctx context.Context, err error) error {
	if err != nil && broken(err) && !unreachable(err) && ctx.Err() == nil {
		return sqlstore.Lost(err)
	}
	return err
}
