package sqlite

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// A share limits how much of the time the writer leaves the write lock to the
// application's own transactions. SQLite's busy handler polls after 1, 2, 5, 10, 15,
// 20, 25 and more milliseconds, and a busy writer takes the lock again in between. So
// the writer checks between two transactions whether a connection of the application
// is in use. If so, it waits until the application has committed, for no longer than
// the application's share of the time that the writer held the lock.
//
// The writer sees the connections of the *sql.DB that its store was given. Stores of
// other processes see theirs: a busy writer signals them, and they wait in the lock
// queue for their applications, see appQueue.
type share struct {
	percent  int
	asks     func() bool // whether a connection of the application is in use; nil without a *sql.DB
	hasPeers func() bool // whether other processes have stores to signal

	credit time.Duration // how long the writer may wait for the application
	freed  time.Time     // when the lock was released
	held   time.Duration // how long the lock was held since the last signal
}

const (
	// defaultShare is in percent. See docs/performance.md.
	defaultShare = 25
	maxShare     = 50
	// maxCredit is the longest wait for the application before one transaction: the
	// longest pause between the first ten polls of SQLite's busy handler.
	maxCredit = 50 * time.Millisecond
	// minCredit is the shortest wait.
	minCredit = time.Millisecond
	// signalAfter is how long the lock is held between two signals.
	signalAfter = 4 * time.Millisecond
	// lookEvery is how often the writer checks whether the application has committed.
	lookEvery = 200 * time.Microsecond
)

// gave records that the lock was held since a time and is free now.
func (s *share) gave(since time.Time) {
	s.freed = time.Now()
	held := s.freed.Sub(since)
	s.held += held
	if s.percent > 0 {
		s.credit = min(maxCredit, s.credit+held*time.Duration(s.percent)/time.Duration(100-s.percent))
	}
}

// took records that the lock was left to others for d.
func (s *share) took(d time.Duration) { s.credit = max(0, s.credit-d) }

// shouldSignal reports whether it is time to signal other processes.
func (s *share) shouldSignal() bool {
	if s.held < signalAfter || s.credit < minCredit || s.hasPeers == nil {
		return false
	}
	s.held = 0
	return true
}

// yield leaves the lock to the application if it uses a connection and has credit.
func (w *writer) yield(ctx context.Context) error {
	s := &w.share
	if s.percent <= 0 {
		return nil
	}
	began := time.Now()
	if began.Sub(s.freed) > maxCredit {
		s.credit = 0 // the lock was free for long
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

// version returns a number that changes when other connections commit.
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

// An appQueue waits in the lock queue for the application of its process, when a
// writer of another process signals.
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
