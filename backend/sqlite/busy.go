package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// lockWait is how long a call without a deadline waits for locks. It is a
// variable for tests.
var lockWait = 10 * time.Second

const (
	// maxRetryPause bounds the pauses between tries. Shorter pauses make 32
	// processes on one file slow each other down.
	maxRetryPause = 25 * time.Millisecond
	// maxFrontPause bounds the pauses of the process at the front of the lock
	// queue.
	maxFrontPause = 2 * time.Millisecond
)

// retry calls f until the database is not busy, and returns f's error. It returns
// the context's error if the context ends first. Without a deadline in ctx it
// returns the last busy error at the time until.
//
// SQLite's own busy handler ignores contexts and is not called in every case. The
// pauses grow exponentially to maxRetryPause and are jittered.
func retry(ctx context.Context, until time.Time, f func() error) error {
	return retryUpTo(func() time.Duration { return maxRetryPause }, ctx, until, f)
}

// retryUpTo is retry with another bound on the pauses.
func retryUpTo(maxPause func() time.Duration, ctx context.Context, until time.Time, f func() error) error {
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
		pause = min(2*pause, maxPause())
	}
}

// busySince records since when the write lock is not free.
type busySince struct{ first, last atomic.Int64 } // Unix nanoseconds; first is 0 if the lock is free

const (
	// busyGap is the time without a try after which the record is outdated. A
	// process in the lock queue does not try.
	busyGap = host.MaxQueueWait + time.Second
	// reportableWait is the shortest wait that an error mentions.
	reportableWait = 100 * time.Millisecond
)

// note records that the lock was not free.
func (b *busySince) note() {
	now := time.Now().UnixNano()
	if b.first.Load() == 0 || now-b.last.Load() > int64(busyGap) {
		b.first.Store(now)
	}
	b.last.Store(now)
}

// clear records that the lock is free.
func (b *busySince) clear() {
	if b.first.Load() != 0 {
		b.first.Store(0)
	}
}

// since returns how long the lock has not been free.
func (b *busySince) since() time.Duration {
	first := b.first.Load()
	if now := time.Now().UnixNano(); first != 0 && now-b.last.Load() <= int64(busyGap) {
		return time.Duration(now - first)
	}
	return 0
}

// adviseWithTx is the advice for a transaction of this program.
const adviseWithTx = "a transaction that waits for this call never ends: enqueue in it with Queue.WithTx"

// describeLock says which process has the lock, which was not free for wait.
func describeLock(path string, wait time.Duration) string {
	wait = wait.Round(100 * time.Millisecond)
	h, ok := host.FindLockHolder(path)
	switch {
	case !ok:
		return fmt.Sprintf("the write lock of the database was not free for %v, and the system does not report which process has it; "+
			"if it is a transaction of this program: %s", wait, adviseWithTx)
	case h.IsSelf():
		return fmt.Sprintf("the write lock of the database was not free for %v: %v holds it; %s", wait, h, adviseWithTx)
	}
	return fmt.Sprintf("the write lock of the database was not free for %v: %v holds it; end its transaction, or the process", wait, h)
}

// errLocked is the error of a call that waited for the lock in vain.
func errLocked(path string, wait time.Duration, err error) error {
	text := fmt.Errorf("%w: %s", backend.ErrUnavailable, describeLock(path, wait))
	if err != nil {
		return fmt.Errorf("%w: %w", text, err)
	}
	return text
}
