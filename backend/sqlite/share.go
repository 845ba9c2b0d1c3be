package sqlite

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// A share is how much of the time the writer leaves the lock to the application's
// own transactions. SQLite has no queue for its lock: a transaction that finds it
// taken looks again after 1, 2, 5, 10, 15, 20, 25 and more milliseconds, and finds
// it taken again, because a busy writer takes it back at once. So the writer looks
// between two of its transactions whether a connection of the application is in
// use, and if there is one, waits until the application has committed. It waits no
// longer than its share of the time that it has held the lock.
//
// It sees the connections of the *sql.DB that its own store was given. Stores in
// other processes see theirs: a busy writer rings for them, and they queue at the
// line for their applications, see host.
type share struct {
	percent int
	asks    func() bool // whether a connection of the application is in use; nil if none is known
	company func() bool // whether there were stores of other processes to ask

	credit time.Duration // how long the lock may be left
	freed  time.Time     // when it was given back
	held   time.Duration // how long it was held since the last ring
}

const (
	// defaultShare is in percent, see docs/performance.md.
	defaultShare = 25
	maxShare     = 50
	// maxCredit bounds how long one transaction may wait for the application: as
	// long as the longest pauses between the first ten looks.
	maxCredit = 50 * time.Millisecond
	// minCredit is worth a pause.
	minCredit = time.Millisecond
	// ringAfter is how long the lock is held between two rings.
	ringAfter = 4 * time.Millisecond
	// lookEvery is how often the writer looks whether the application has
	// committed.
	lookEvery = 200 * time.Microsecond
)

// gave takes note that the lock was held since a time, and is free now.
func (s *share) gave(since time.Time) {
	s.freed = time.Now()
	held := s.freed.Sub(since)
	s.held += held
	if s.percent > 0 {
		s.credit = min(maxCredit, s.credit+held*time.Duration(s.percent)/time.Duration(100-s.percent))
	}
}

// took takes note that the lock was left to others for a time.
func (s *share) took(d time.Duration) { s.credit = max(0, s.credit-d) }

// rings reports whether it is time to ask the stores of other processes.
func (s *share) rings() bool {
	if s.held < ringAfter || s.credit < minCredit || s.company == nil {
		return false
	}
	s.held = 0
	return true
}

// yield leaves the lock to the application, if that asks for it and has credit.
func (w *writer) yield(ctx context.Context) error {
	s := &w.share
	if s.percent <= 0 {
		return nil
	}
	began := time.Now()
	if began.Sub(s.freed) > maxCredit {
		s.credit = 0 // it was free for long
		return nil
	}
	if s.asks == nil || s.credit < minCredit || !s.asks() {
		return nil
	}
	defer func() { s.took(time.Since(began)) }()
	before := w.version()
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for s.asks() && w.version() == before && time.Since(began) < s.credit {
		timer.Reset(lookEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// version returns a number that changes when others commit.
func (w *writer) version() (v int64) {
	if w.conn == nil || w.borrow {
		return 0
	}
	rows, err := w.query(selectDataVersion)
	if err != nil {
		return 0
	}
	defer rows.Close()
	if !rows.Next() || rows.Scan(&v) != nil || rows.Err() != nil {
		return 0
	}
	return v
}

// An appQueue waits in the lock queue for the application of its process. A writer
// of another process signals it to.
type appQueue struct {
	asks  func() bool
	queue *host.LockQueue
	wait  time.Duration
	busy  chan struct{} // full while a goroutine queues
}

// appQueueWait bounds how long an appQueue queues for its application, and how long
// it then keeps the front for it.
const appQueueWait = 10 * time.Millisecond

func newAppQueue(path string, asks func() bool) *appQueue {
	return &appQueue{asks: asks, queue: host.NewLockQueue(path), wait: appQueueWait, busy: make(chan struct{}, 1)}
}

func (q *appQueue) close() {
	q.queue.Stop()
	q.busy <- struct{}{} // the goroutine has ended
	q.queue.Close()
}

// enter queues if the application asks for the lock, and leaves the queue when the
// application has committed.
func (q *appQueue) enter() {
	if !q.asks() {
		return
	}
	select {
	case q.busy <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-q.busy }()
		until := time.Now().Add(q.wait)
		q.queue.NoteContention()
		ctx, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		if !q.queue.Wait(ctx, until) {
			return
		}
		defer q.queue.Release()
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for until := time.Now().Add(q.wait); q.asks() && time.Now().Before(until); {
			<-ticker.C
		}
	}()
}
