package mysql

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// An idSource gives the IDs of new jobs. A process draws them in blocks, in transactions of
// their own. So the IDs are known before the INSERT, those of one push follow each other, an ID
// is never used twice, and no row is locked by each push. When the commit of a push is not
// answered, its IDs tell whether it is stored.
type idSource struct {
	mu        sync.Mutex
	next, end int64 // the IDs of the block that are left: from next to end-1
	seed      int64 // of the jobs with IDs of the block
	size      int64 // of the block
	drawn     time.Time
}

// The sizes of blocks. A block that does not last a second doubles the next one.
const (
	minBlock = 1000
	maxBlock = 1 << 16
)

// drawIDs draws the IDs up to LAST_INSERT_ID. None is up to the floor.
const drawIDs = `UPDATE plainjobs_meta SET number = LAST_INSERT_ID(GREATEST(number, ?) + ?) WHERE key_text = 'next_id'`

// newIDs returns the first of n IDs that follow each other, and the seed of their jobs. No ID
// is up to the floor.
func (t *tx) newIDs(n int, floor int64) (first, seed int64, err error) {
	s := &t.b.ids
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next <= floor || s.end-s.next < int64(n) {
		if t.caller && t.b.isBusy() {
			last, err := t.draw(floor, int64(n))
			return last - int64(n) + 1, newSeed(), err
		}
		if err := t.b.refill(t.ctx, floor, int64(n)); err != nil {
			return 0, 0, err
		}
	}
	first = s.next
	s.next += int64(n)
	return first, s.seed, nil
}

// refill draws a block with at least n IDs. The caller holds the lock.
func (b *Backend) refill(ctx context.Context, floor, n int64) error {
	s := &b.ids
	if s.size = max(s.size, minBlock); time.Since(s.drawn) < time.Second {
		s.size = min(2*s.size, maxBlock)
	}
	size := max(s.size, n)
	var last int64
	err := b.transact(ctx, func(t *tx) (err error) {
		last, err = t.draw(floor, size)
		return err
	})
	if err != nil {
		return err
	}
	s.next, s.end, s.seed, s.drawn = last-size+1, last+1, newSeed(), time.Now()
	return nil
}

// draw draws n IDs and returns the last.
func (t *tx) draw(floor, n int64) (last int64, err error) {
	result, err := t.exec(drawIDs, floor, n)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// isBusy reports whether the pool has no connection to give: a transaction of the application
// may have the only one, and would wait for itself.
func (b *Backend) isBusy() bool {
	stats := b.db.Stats()
	return stats.MaxOpenConnections > 0 && stats.InUse >= stats.MaxOpenConnections
}

// A token is a job's seed plus its ID. The seed is drawn when the job becomes claimable, and
// each time it becomes so again. The same job and seed are claimed once at most.

// newSeed returns a random seed.
func newSeed() int64 { return 1 + rand.Int64N(1<<62) }

// seed returns the seed of the jobs that become claimable again in the transaction.
func (t *tx) seed() int64 {
	if t.fresh == 0 {
		t.fresh = newSeed()
	}
	return t.fresh
}
