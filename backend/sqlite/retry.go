package sqlite

import (
	"context"
	"math/rand/v2"
	"time"
)

// lockWait is how long a call without a deadline waits for locks. It is a
// variable for tests.
var lockWait = 10 * time.Second

// retry calls f until it does not find the database busy, and returns what it
// returned. It returns the context's error when that ends first, and the last
// busy one at the time until, if the context has no deadline.
//
// The pauses are jittered and exponential to maxRetryPause, see also line.
// SQLite's own busy handler heeds no context and is not asked in every case.
func retry(ctx context.Context, until time.Time, f func() error) error {
	return retryUpTo(func() time.Duration { return maxRetryPause }, ctx, until, f)
}

// maxRetryPause is for many that try: shorter pauses let 32 processes on one
// file eat each other's time.
const maxRetryPause = 25 * time.Millisecond

// retryUpTo is retry with another bound on the pauses.
func retryUpTo(most func() time.Duration, ctx context.Context, until time.Time, f func() error) error {
	pause := 50 * time.Microsecond
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f()
		if err == nil || !busy(err) {
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
		pause = min(2*pause, most())
	}
}
