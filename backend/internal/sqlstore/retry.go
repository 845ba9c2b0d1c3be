package sqlstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// maxLost bounds how often a transaction is restarted after it lost its connection before the
// commit.
const maxLost = 5

// Retry calls f until it returns no conflict, and returns f's result. If the context ends
// first it returns the context's error. If the context has no deadline it returns the last
// conflict after until.
func Retry(ctx context.Context, until time.Time, conflicts func(error) bool, f func() error) error {
	pause := time.Millisecond
	for lost := 0; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f()
		broke, isLost := errors.AsType[*lostError](err)
		switch {
		case err == nil:
			return nil
		case isLost && lost < maxLost:
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
		Pause(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// A lostError is the error of a transaction that lost its connection before the commit, so that
// nothing of it is stored.
type lostError struct{ err error }

func (l *lostError) Error() string { return l.err.Error() }

func (l *lostError) Unwrap() error { return l.err }

// Lost marks err so that Retry tries again a few times, with another connection. Nothing must
// have been stored.
func Lost(err error) error { return &lostError{err} }
