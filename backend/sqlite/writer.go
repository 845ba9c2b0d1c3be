package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Bounds of a group.
const (
	maxGroup     = 512
	maxGroupTime = 5 * time.Millisecond
)

// A writer runs all of a process's writes on one connection. Requests that
// come while a transaction is under way wait, and the next transaction takes
// them all: one lock, one commit and one fsync for the group.
//
// There is no goroutine and no timer: whoever finds no leader leads, serves
// one group, and hands the lead to the first who waits. Alone, a request
// costs no hand-over.
type writer struct {
	pool   *sql.DB
	only   bool // the pool's connection is the database: it must not be closed
	borrow bool // the pool is somebody's: its connection goes back after each group
	prefix string
	onWake func() // called after a commit that made jobs claimable

	mu     sync.Mutex
	queue  []*request
	leader *request // nil if nobody leads
	closed bool

	// The rest belongs to the leader.
	conn     *sql.Conn
	stmts    map[string]*sql.Stmt
	full     bool // what PRAGMA synchronous is set to
	distrust bool // an fsync failed: no push before a checkpoint succeeds
	names    map[string]int64
	nameOf   map[int64]string
	held     map[int64]held // what this process claimed and did not settle
}

// held is what the writer knows of a claimed job.
type held struct{ token, name int64 }

// A request is a unit of work: all of it is committed or nothing.
type request struct {
	op    string
	full  bool // must be on disk before it is acknowledged
	first bool // goes before the others of its group
	// run executes the request in t. It may be run again after a rollback,
	// so it must set its results anew each time.
	run func(t *tx) error

	err    error
	signal chan bool // true: done; false: lead
}

// rejected is an error of a request that has written nothing, so that its
// group can go on.
type rejected struct{ error }

func (r rejected) Unwrap() error { return r.error }

// errAlone makes the writer run a request again in a transaction of its own.
var errAlone = errors.New("run again alone")

// do runs r and returns its error. It may return the context's error only
// while nothing of r was started.
func (w *writer) do(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.signal = make(chan bool, 1)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return backend.ErrClosed
	}
	if r.first {
		w.queue = slices.Insert(w.queue, 0, r)
	} else {
		w.queue = append(w.queue, r)
	}
	leads := w.leader == nil
	if leads {
		w.leader = r
	}
	w.mu.Unlock()

	if !leads {
		select {
		case done := <-r.signal:
			if done {
				return r.err
			}
		case <-ctx.Done():
			if w.withdraw(r) {
				return ctx.Err()
			}
			if <-r.signal {
				return r.err
			}
		}
	}
	return w.lead(ctx, r)
}

// withdraw takes r out of the queue, and the lead off it, if it is still
// there.
func (w *writer) withdraw(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.queue, r)
	if i < 0 {
		return false
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	if w.leader == r {
		w.handOver()
	}
	return true
}

// handOver gives the lead to the first who waits. The caller holds mu.
func (w *writer) handOver() {
	w.leader = nil
	if len(w.queue) > 0 {
		w.leader = w.queue[0]
		w.leader.signal <- false
	}
}

// next takes the next request of a group out of the queue; without full, only
// one that needs no fsync.
func (w *writer) next(full bool) *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range w.queue {
		if full || !r.full {
			w.queue = slices.Delete(w.queue, i, i+1)
			return r
		}
	}
	return nil
}

// wantsFull reports whether a queued request must be on disk.
func (w *writer) wantsFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.queue, func(r *request) bool { return r.full })
}

// lead takes the lock and serves a group that has r in it. Until the lock is
// held, r may leave with its context.
func (w *writer) lead(ctx context.Context, r *request) error {
	t, err := w.begin(ctx, r.full, w.wantsFull)
	if err != nil {
		w.withdraw(r)
		return err
	}
	group := w.serve(t, r)
	w.mu.Lock()
	w.handOver()
	w.mu.Unlock()
	for _, f := range group {
		if f != r {
			f.signal <- true
		}
	}
	return r.err
}

// serve runs r and what else is queued in t.
func (w *writer) serve(t *tx, r *request) []*request {
	var group []*request
	start := time.Now()
	broken := false
	for !broken && len(group) < maxGroup {
		n := w.next(t.full)
		if n == nil {
			break
		}
		group = append(group, n)
		n.err = n.run(t)
		switch {
		case n.err == nil, errors.As(n.err, new(rejected)):
		default:
			broken = true
		}
		// r itself must be served, even when a slow one went before it.
		if time.Since(start) > maxGroupTime && slices.Contains(group, r) {
			break
		}
	}
	if !broken {
		err := t.commit()
		if err == nil {
			for _, n := range group {
				if errors.Is(n.err, errAlone) {
					n.err = w.alone(n)
				}
			}
			return group
		}
		group[0].err = err
	}
	t.rollback()
	if len(group) == 1 && !retryAlone(group[0].err) {
		return group
	}
	// One of them failed, or all of them together. Each gets a transaction
	// of its own, so that it fails for its own reasons only.
	for _, n := range group {
		n.err = w.alone(n)
	}
	return group
}

func retryAlone(err error) bool { return errors.Is(err, errAlone) || busy(err) }

// alone runs r in a transaction of its own.
func (w *writer) alone(r *request) error {
	for attempt := 0; ; attempt++ {
		t, err := w.begin(context.Background(), r.full, func() bool { return r.full })
		if err != nil {
			return err
		}
		t.alone = true
		err = r.run(t)
		if err == nil {
			err = t.commit()
		}
		if err == nil {
			return nil
		}
		t.rollback()
		if !busy(err) || attempt == 10 {
			return err
		}
	}
}

// begin opens a transaction that holds the write lock. It asks wantsFull
// before each try, as that cannot be changed once the transaction is open;
// mustFull says that a transaction without is of no use to the caller.
func (w *writer) begin(ctx context.Context, mustFull bool, wantsFull func() bool) (*tx, error) {
	var t *tx
	err := retry(ctx, func() (err error) {
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return backend.ErrClosed
		}
		t, err = w.tryBegin(ctx, mustFull, wantsFull())
		return err
	})
	if busy(err) {
		err = fmt.Errorf("%w: the database was locked for %v; a transaction of this program that waits for "+
			"this call would never end: enqueue in it with Queue.WithTx: %w", backend.ErrUnavailable, lockWait, err)
	}
	return t, err
}

func (w *writer) tryBegin(ctx context.Context, mustFull, full bool) (*tx, error) {
	if w.conn == nil {
		conn, err := w.pool.Conn(ctx)
		if err != nil {
			return nil, err
		}
		w.conn, w.stmts = conn, map[string]*sql.Stmt{}
		w.full = true // as connections are set up
	}
	if full && w.distrust {
		if err := w.regainTrust(); err != nil {
			if mustFull {
				return nil, err
			}
			full = false
		}
	}
	if err := w.synchronous(full); err != nil {
		_ = w.drop()
		return nil, err
	}
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		if !busy(err) || w.borrow {
			_ = w.drop()
		}
		return nil, err
	}
	return &tx{w: w, full: full}, nil
}

// synchronous sets whether commits wait for the disk. It costs 1 to 3 µs, a
// needless fsync a hundred times that.
func (w *writer) synchronous(full bool) error {
	if w.full == full || w.borrow { // a borrowed connection stays as it is
		return nil
	}
	pragma := "PRAGMA synchronous=NORMAL"
	if full {
		pragma = "PRAGMA synchronous=FULL"
	}
	if _, err := w.exec(pragma); err != nil {
		return err
	}
	w.full = full
	return nil
}

// regainTrust moves everything out of a WAL whose fsync failed: the kernel
// reports such a failure once and may drop the pages, so a later fsync that
// works says nothing about them.
func (w *writer) regainTrust() error {
	var blocked, frames, moved int
	row := w.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	if err := row.Scan(&blocked, &frames, &moved); err != nil {
		return fmt.Errorf("checkpoint after a failed fsync: %w", err)
	}
	if blocked != 0 {
		return fmt.Errorf("%w: an fsync failed, and a reader holds up the checkpoint that must follow", backend.ErrUnavailable)
	}
	w.distrust = false
	return nil
}

// exec runs a statement, prepared on the connection. Its context is never the
// caller's: a cancellable one costs several µs a call, and a transaction that
// was begun is finished.
func (w *writer) exec(query string, args ...any) (sql.Result, error) {
	stmt, err := w.prepare(query) //nolint:sqlclosecheck // it is kept with the connection
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(context.Background(), args...)
}

func (w *writer) prepare(query string) (*sql.Stmt, error) {
	stmt := w.stmts[query]
	if stmt == nil {
		var err error
		stmt, err = w.conn.PrepareContext(context.Background(), withPrefix(query, w.prefix))
		if err != nil {
			return nil, err
		}
		w.stmts[query] = stmt
	}
	return stmt, nil
}

// drop gives the connection up; the next transaction gets another.
func (w *writer) drop() error {
	if w.conn == nil {
		return nil
	}
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	if !w.borrow && !w.only {
		// Saying that it is bad makes the pool close it.
		_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	} else {
		errs = append(errs, w.conn.Close())
	}
	w.conn, w.stmts = nil, nil
	return errors.Join(errs...)
}

// shut lets no request in and those who wait for the lock go.
func (w *writer) shut() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
}

// disconnect closes the connection; no call is under way any more.
func (w *writer) disconnect() error {
	err := w.drop()
	if !w.borrow {
		err = errors.Join(err, w.pool.Close())
	}
	return err
}
