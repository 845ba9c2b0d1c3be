package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// maxBroken bounds how often a transaction is restarted after it lost its connection
// before the commit.
const maxBroken = 5

// retry calls f until it returns no conflict, and returns f's result. If the context
// ends first it returns the context's error. If the context has no deadline it
// returns the last conflict after lockWait.
func (b *Backend) retry(ctx context.Context, f func() error) error {
	return b.retryUntil(ctx, time.Now().Add(lockWait), f)
}

// retryUntil is retry with its own time limit.
func (b *Backend) retryUntil(ctx context.Context, until time.Time, f func() error) error {
	pause := time.Millisecond
	for lost := 0; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f()
		broke, isLost := errors.AsType[*lostConn](err)
		switch {
		case err == nil:
			return nil
		case isLost && lost < maxBroken:
			lost++
			err = broke.err
		case isLost:
			return broke.err
		case !conflicts(err):
			return err
		}
		if _, ok := ctx.Deadline(); !ok && time.Now().After(until) {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// A lostConn is the error of a transaction that lost its connection before the
// commit, so that nothing of it is stored.
type lostConn struct{ err error }

func (l *lostConn) Error() string { return l.err.Error() }

func (l *lostConn) Unwrap() error { return l.err }

// again marks err so that retry tries again, if the connection was lost and another
// one may work. Nothing must have been stored.
func again(ctx context.Context, err error) error {
	if err != nil && broken(err) && !unreachable(err) && ctx.Err() == nil {
		return &lostConn{err}
	}
	return err
}
