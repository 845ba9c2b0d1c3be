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

// A changeWatcher wakes waiting calls: at once after a commit of the writer, on a
// signal of another process, and when polling finds that PRAGMA data_version has
// changed. Polling takes no lock and reads no page while nothing changes.
type changeWatcher struct {
	mu           sync.Mutex
	waiters      []*waiter
	closed       bool
	misses       atomic.Int32 // consecutive searches without a job, see pause
	lastTxNotice atomic.Int64 // Unix nanoseconds, see Backend.notifyPendingTx

	asking sync.Mutex // not mu: a committing writer must not wait for it
	conn   *sql.Conn  // one of the readers: data_version differs by connection
	stmts  map[string]*sql.Stmt
}

// A waiter is a call of Wait.
type waiter struct {
	changed chan struct{} // the call must look again
	arrived chan struct{} // the call may claim a job without a look
	expects chan struct{} // a transaction of an application may commit soon
	// plain are the names whose pushed jobs the call may claim, as of its last look.
	plain []string
	stale bool // something has changed since the call began to look
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

// begin is called before v looks. It reports whether the store is closed.
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

// takes reports whether v may claim a pushed job with one of the names.
func (v *waiter) takes(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(v.plain, name) })
}

// announce wakes the calls that wait for jobs with the names, which are about to be
// pushed. It reports whether there are any.
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

// notify wakes all waiting calls and returns their number. Calls that wait for the
// pushed names claim without a look.
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

// The signals between stores of different processes.
const (
	committed  host.Signal = 1 << iota // jobs became claimable
	txPending                          // a transaction of an application has pushed jobs
	lockWanted                         // a writer asks whether an application wants the lock
)

// notifyPendingTx makes waiting calls poll at short intervals for a while. An
// application has pushed in its own transaction, whose commit sends no signal.
func (w *changeWatcher) notifyPendingTx() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.waiters {
		signal(v.expects)
	}
}

// A backoffTimer ticks at growing intervals, from one millisecond to pollInterval.
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

// maxPause is the longest time during which signals are not received.
const maxPause = 25 * time.Millisecond

// found records whether a search or a claim found a job.
func (w *changeWatcher) found(some bool) {
	if some {
		w.misses.Store(0)
	} else {
		w.misses.Add(1)
	}
}

// pause returns for how long to receive no signals. It is zero, unless the last
// searches found no job, because other workers are faster or the jobs have other
// names. Without it, many processes would spend their time looking for each other's
// jobs.
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

// drop closes the connection. The caller holds asking.
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

// ask calls f with the connection. Its statements never wait, so they do not use the
// caller's context: a cancellable one costs as much as the statement.
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
		err = errors.Join(err, w.drop()) // the next call opens another
	}
	return err
}

// An asker runs queries on the watcher's connection and prepares each once.
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

// version returns a number that changes when other connections commit.
func version(q source) (v int64, err error) {
	err = scan(context.Background(), q, selectDataVersion, nil, func(r *sql.Rows) error { return r.Scan(&v) })
	return v, err
}

// version returns the data_version of the watcher's connection.
func (w *changeWatcher) version(readers *sql.DB) (v int64, err error) {
	err = w.ask(readers, func(q source) (err error) {
		v, err = version(q)
		return err
	})
	return v, err
}
