package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// A changeWatcher tells waiting workers of changes: at once of the writer's, soon of
// other processes' that ring the bell, and by the database's data_version of
// anybody's. Looking takes no lock and, as long as nothing changes, reads no
// page.
type changeWatcher struct {
	mu           sync.Mutex
	waiters      []*waiter
	closed       bool
	misses       atomic.Int32 // how often in turn nothing was found, see pause
	lastTxNotice atomic.Int64 // when a commit was, in nanoseconds, see Backend.expect

	asking sync.Mutex // apart from mu, which a committing writer needs
	conn   *sql.Conn  // of the readers: data_version counts by connection
	stmts  map[string]*sql.Stmt
}

// A waiter is a call of Wait.
type waiter struct {
	changed chan struct{} // it must look again
	arrived chan struct{} // a job came that it may claim: no need to look
	expects chan struct{} // a commit that nobody tells of is near
	// plain are the names of which it may claim any job that is pushed, as
	// far as it has looked.
	plain []string
	stale bool // something has happened since it began to look
}

// join adds a waiter.
func (w *changeWatcher) join() *waiter {
	v := &waiter{changed: make(chan struct{}, 1), arrived: make(chan struct{}, 1), expects: make(chan struct{}, 1)}
	w.mu.Lock()
	w.waiters = append(w.waiters, v)
	w.mu.Unlock()
	return v
}

func (w *changeWatcher) leave(v *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.waiters, v)
	w.waiters = slices.Delete(w.waiters, i, i+1)
}

// begin is called before v looks, and says whether the store is closed.
func (w *changeWatcher) begin(v *waiter) (closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-v.changed:
	default:
	}
	v.plain, v.stale = nil, false
	return w.closed
}

// looked is called when v has looked and found nothing.
func (w *changeWatcher) looked(v *waiter, plain []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !v.stale {
		v.plain = plain
	}
}

// takes reports whether v may claim any job with one of the names.
func (v *waiter) takes(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(v.plain, name) })
}

// announce wakes those who wait for jobs with the names, which are about to be
// pushed, and says whether there is somebody.
func (w *changeWatcher) announce(names []string) (some bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.waiters {
		if v.takes(names) {
			some = true
			signal(v.arrived)
		}
	}
	return some
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// notify wakes those who wait: to claim, if all that has happened is that jobs
// of the names were pushed, else to look. It returns how many they are.
func (w *changeWatcher) notify(pushed []string) (waiters int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.waiters {
		if v.takes(pushed) {
			signal(v.arrived)
		} else {
			v.plain, v.stale = nil, true
			signal(v.changed)
		}
	}
	return len(w.waiters)
}

// The signals that stores send each other.
const (
	committed host.Signal = 1 << iota // something was committed
	txPending                         // a transaction of an application has jobs in it
	rungAsk                           // a writer asks whether an application wants the lock
)

// notifyPendingTx has those who wait look at short intervals for a while: an
// application has pushed in a transaction of its own, and nothing tells of its
// commit.
func (w *changeWatcher) notifyPendingTx() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.waiters {
		signal(v.expects)
	}
}

// A backoffTimer ticks at growing intervals, from a millisecond to what looking has
// anyway.
type backoffTimer struct {
	timer *time.Timer
	step  time.Duration
}

func newBackoffTimer() *backoffTimer {
	l := &backoffTimer{timer: time.NewTimer(time.Hour)}
	l.timer.Stop()
	return l
}

func (l *backoffTimer) start() {
	l.step = time.Millisecond
	l.timer.Reset(l.step)
}

// next is called after each tick.
func (l *backoffTimer) next() {
	if l.step *= 2; l.step < pollInterval {
		l.timer.Reset(l.step)
	}
}

// maxPause bounds how long a ring of another process may be left unheard.
const maxPause = 25 * time.Millisecond

// found takes note of whether there was anything to be had.
func (w *changeWatcher) found(some bool) {
	if some {
		w.misses.Store(0)
	} else {
		w.misses.Add(1)
	}
}

// pause returns how long to hear nothing of other processes: none, unless
// others mostly are quicker, or have nothing for this one. Many processes that
// all look at each other's pushes would do little else.
func (w *changeWatcher) pause() time.Duration {
	misses := w.misses.Load()
	if misses < 3 {
		return 0
	}
	return min(time.Millisecond<<min(misses-3, 10), maxPause)
}

func (w *changeWatcher) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.notify(nil)
}

func (w *changeWatcher) disconnect() error {
	w.asking.Lock()
	defer w.asking.Unlock()
	return w.drop()
}

// drop gives the connection up. The caller holds asking.
func (w *changeWatcher) drop() error {
	if w.conn == nil {
		return nil
	}
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	err := errors.Join(append(errs, w.conn.Close())...)
	w.conn, w.stmts = nil, nil
	return err
}

// ask calls f with the connection, on which statements are prepared once. It
// never waits, so the context is not the caller's: a cancellable one would
// cost as much again as the statement.
func (w *changeWatcher) ask(readers *sql.DB, f func(source) error) error {
	w.asking.Lock()
	defer w.asking.Unlock()
	if w.conn == nil {
		conn, err := readers.Conn(context.Background())
		if err != nil {
			return err
		}
		w.conn, w.stmts = conn, map[string]*sql.Stmt{}
	}
	err := f(asker{w})
	if err != nil && !busy(err) {
		err = errors.Join(err, w.drop()) // the next call gets another
	}
	return err
}

// An asker asks on the connection of a watch.
type asker struct{ w *changeWatcher }

func (a asker) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt := a.w.stmts[query]
	if stmt == nil {
		var err error
		if stmt, err = a.w.conn.PrepareContext(context.Background(), query); err != nil {
			return nil, err
		}
		a.w.stmts[query] = stmt
	}
	return stmt.QueryContext(context.Background(), args...)
}

const selectDataVersion = `PRAGMA data_version`

// version returns a number that changes with every commit of others.
func version(q source) (v int64, err error) {
	err = scan(context.Background(), q, selectDataVersion, nil, func(r *sql.Rows) error { return r.Scan(&v) })
	return v, err
}

// version is version for who looks for nothing else.
func (w *changeWatcher) version(readers *sql.DB) (v int64, err error) {
	err = w.ask(readers, func(q source) (err error) {
		v, err = version(q)
		return err
	})
	return v, err
}
