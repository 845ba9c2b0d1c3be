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
//
// A push takes its IDs before its connection: one that waited for a connection while it has
// one could wait for itself. A push in a transaction of the application cannot do so. For it, a
// block is in hand from the start, and the next one is drawn before it ends.
type idSource struct {
	mu      sync.Mutex
	block   idBlock
	spare   idBlock       // for the end of block
	floor   int64         // no new job gets an ID up to this one
	drawing chan struct{} // closed when a block was drawn, or could not be; nil if none is being drawn
	size    int64         // of the next block
	drawn   time.Time
}

// An idBlock is IDs that are left: from next to end-1. The seed is that of their jobs.
type idBlock struct{ next, end, seed int64 }

func (b *idBlock) left() int64 { return b.end - b.next }

// The sizes of blocks. A block that does not last a second doubles the next one.
const (
	minBlock = 1000
	maxBlock = 1 << 16
)

// drawIDs draws the IDs up to LAST_INSERT_ID. None is up to the floor.
const drawIDs = `UPDATE plainjobs_meta SET number = LAST_INSERT_ID(GREATEST(number, ?) + ?) WHERE key_text = 'next_id'`

// takeFrom takes n IDs of a block.
func (s *idSource) takeFrom(b *idBlock, n int64) (ids idBlock, ok bool) {
	if b.left() < n || b.next <= s.floor {
		return idBlock{}, false
	}
	ids = idBlock{b.next, b.next + n, b.seed}
	b.next += n
	return ids, true
}

// take takes n IDs that are in hand and follow each other. The caller holds the lock.
func (s *idSource) take(n int64) (ids idBlock, ok bool) {
	if ids, ok = s.takeFrom(&s.block, n); ok {
		return ids, true
	}
	if ids, ok = s.takeFrom(&s.spare, n); ok {
		s.block, s.spare = s.spare, idBlock{}
	}
	return ids, ok
}

// isLow reports whether it is time to draw a spare block. The caller holds the lock.
func (s *idSource) isLow() bool {
	return s.drawing == nil && (s.spare.left() == 0 || s.spare.next <= s.floor) && (s.block.left() <= s.size/2 || s.block.next <= s.floor)
}

// raise notes that no new job gets an ID up to the floor.
func (s *idSource) raise(floor int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floor = max(s.floor, floor)
}

// reserve returns n IDs that follow each other. The caller holds no connection.
func (b *Backend) reserve(ctx context.Context, n int) (idBlock, error) {
	s := &b.ids
	for {
		s.mu.Lock()
		ids, ok := s.take(int64(n))
		drawing := s.drawing
		if !ok && drawing == nil {
			s.drawing = make(chan struct{})
		}
		s.mu.Unlock()
		switch {
		case ok:
			b.refill()
			return ids, nil
		case drawing == nil:
			return b.drawBlock(ctx, int64(n))
		}
		select {
		case <-drawing:
		case <-ctx.Done():
			return idBlock{}, ctx.Err()
		}
	}
}

// refill begins to draw a spare block if it is time, and waits for nothing.
func (b *Backend) refill() {
	s := &b.ids
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isLow() {
		return
	}
	s.drawing = make(chan struct{})
	b.background.Go(func() { _, _ = b.drawBlock(b.life, 0) }) // a push that needs a block draws one, and returns the error
}

// drawBlock draws a block, takes n of its IDs, and keeps the others. The caller has set
// drawing.
func (b *Backend) drawBlock(ctx context.Context, n int64) (ids idBlock, err error) {
	s := &b.ids
	s.mu.Lock()
	if s.size = max(s.size, minBlock); time.Since(s.drawn) < time.Second {
		s.size = min(2*s.size, maxBlock)
	}
	size, floor := max(s.size, n), s.floor
	s.mu.Unlock()
	var last int64
	err = b.transact(ctx, func(t *tx) (err error) {
		last, err = t.draw(floor, size)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.drawing)
	s.drawing = nil
	if err != nil {
		return idBlock{}, err
	}
	drawn := idBlock{last - size + 1, last + 1, newSeed()}
	ids = idBlock{drawn.next, drawn.next + n, drawn.seed}
	drawn.next += n
	s.drawn = time.Now()
	if s.block.left() == 0 || s.block.next <= s.floor {
		s.block = drawn
	} else {
		s.spare = drawn
	}
	return ids, nil
}

// newIDs returns the IDs of n new jobs, after now has read the floor. A transaction that has
// reserved none, such as one of the application, takes those in hand, or draws IDs itself.
func (t *tx) newIDs(n int) (ids idBlock, err error) {
	s := &t.b.ids
	s.raise(t.floor)
	if t.reserved.left() == int64(n) {
		if t.reserved.next <= t.floor { // an import has raised it since
			return idBlock{}, errIDTaken
		}
		return t.reserved, nil
	}
	s.mu.Lock()
	ids, ok := s.take(int64(n))
	s.mu.Unlock()
	t.b.refill()
	if ok {
		return ids, nil
	}
	last, err := t.draw(t.floor, int64(n))
	return idBlock{last - int64(n) + 1, last + 1, newSeed()}, err
}

// draw draws n IDs and returns the last.
func (t *tx) draw(floor, n int64) (last int64, err error) {
	result, err := t.exec(drawIDs, floor, n)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
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
