package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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
	path   string // empty if the database has no file
	file   *databaseFile
	// onPush is called when jobs with the names are about to be pushed, and
	// says whether somebody waits for them. onWake is called after a commit
	// that made jobs claimable, see watch.ring, and onWoke when the lead has
	// been handed over after it, or applications are to be asked whether they
	// want the lock.
	onPush    func(names []string) bool
	onWake    func(pushed []string)
	onWoke    func(woke, asks bool)
	log       *slog.Logger
	lockQueue *lockQueue
	share     share // the leader's
	busy      busySince

	mu     sync.Mutex
	queue  []*request
	leader *request // nil if nobody leads
	closed bool

	// The rest belongs to the leader.
	conn         *sql.Conn
	sides        *[2]sideFile // of conn; nil if it was not looked for yet
	broken       bool         // the driver panicked in conn, which is borrowed and cannot be closed any more
	stmts        map[string]*sql.Stmt
	full         bool // what PRAGMA synchronous is set to
	unsyncedWAL  bool // an fsync failed: no push before a checkpoint succeeds
	names        map[string]int64
	nameOf       map[int64]string
	carries      int64                  // the largest payload that the driver can carry
	picky        bool                   // the driver panicked: what it cannot carry is left to others
	leaseCache   map[int64]*cachedClaim // what this process claimed and did not settle, by base
	cachedLeases int                    // how many jobs that is
	found        int                    // how many jobs the last claim found
}

// cachedClaim is what the writer knows of the jobs of a claim. A token is the claim's
// base and the job's id.
type cachedClaim struct {
	name  int64           // of all of them,
	names map[int64]int64 // or of each one by its id
	keyed map[int64]bool  // those with something to give back at their end
	left  int             // how many are not settled
}

// nameOf returns the name of one of the jobs, 0 if it is none of them.
func (h *cachedClaim) nameOf(id int64) int64 {
	if h.names == nil {
		return h.name
	}
	return h.names[id]
}

// A request is a unit of work: all of it is committed or nothing.
type request struct {
	op    string
	firm  bool // what it stores must not be lost once it is acknowledged,
	full  bool // and must be on disk before
	first bool // goes before the others of its group
	// pushes are names of jobs that any claim after it may return.
	pushes []string
	// run executes the request in t. It may be run again after a rollback,
	// so it must set its results anew each time.
	run func(t *tx) error

	ctx    context.Context
	until  time.Time // when to give up waiting for the lock, without a deadline
	solo   bool      // gets a transaction of its own
	tries  int
	panics int
	err    error
	signal chan bool // true: done; false: lead
}

// maxTries bounds how often a request is run that finds the database busy
// although its transaction has the lock.
const maxTries = 10

// rejected is an error of a request that has written nothing, so that its
// group can go on.
type rejected struct{ error }

func (r rejected) Unwrap() error { return r.error }

// errAlone makes the writer run a request again in a transaction of its own.
var errAlone = errors.New("run again alone")

// do runs r and returns its error. It returns the context's error only while
// nothing of r is stored.
func (w *writer) do(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.ctx, r.until, r.signal = ctx, time.Now().Add(lockWait), make(chan bool, 1)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return backend.ErrClosed
	}
	w.enqueue(r)
	leads := w.leader == nil
	if leads {
		w.leader = r
	}
	w.mu.Unlock()
	if len(r.pushes) > 0 && w.onPush(r.pushes) && leads {
		// Who waits for them comes with a claim, which then shares the
		// transaction: the jobs are claimed as soon as they are stored.
		runtime.Gosched()
	}

	var patience <-chan time.Time
	for {
		if leads {
			if done, err := w.lead(r); done {
				return err
			}
			leads = false // r was put back into the queue
		}
		if _, ok := ctx.Deadline(); !ok && patience == nil {
			timer := time.NewTimer(time.Until(r.until))
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case done := <-r.signal:
			if done {
				return r.err
			}
			leads = true
		case <-ctx.Done():
			if w.withdraw(r) {
				return w.late(ctx.Err())
			}
			leads = !<-r.signal
			if !leads {
				return r.err
			}
		case <-patience:
			if w.withdraw(r) {
				return errLocked(w.path, lockWait, nil)
			}
			leads = !<-r.signal
			if !leads {
				return r.err
			}
		}
	}
}

// enqueue puts r into the queue: behind those that are to be first if it is
// one of them, else at the end. The caller holds mu.
func (w *writer) enqueue(r *request) {
	i := len(w.queue)
	if r.first {
		i = 0
		for i < len(w.queue) && w.queue[i].first {
			i++
		}
	}
	w.queue = slices.Insert(w.queue, i, r)
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
		w.passLead()
	}
	return true
}

// passLead gives the lead to the first who waits. The caller holds mu.
func (w *writer) passLead() {
	w.leader = nil
	if len(w.queue) > 0 {
		w.leader = w.queue[0]
		w.leader.signal <- false
	}
}

// lead takes the lock, serves a group that has r in it, and hands the lead
// over. Until the lock is held, r may leave with its context. It returns false
// if r was put back into the queue.
func (w *writer) lead(r *request) (done bool, err error) {
	t, err := w.begin(r)
	if err != nil {
		w.withdraw(r)
		return true, explainPermission(w.path, err)
	}
	since := time.Now()
	group := w.serve(t, r)
	w.share.gave(since)
	w.lockQueue.release()
	defer t.runDeferredLogs()
	asks := w.share.rings()
	if asks && w.share.company() {
		w.lockQueue.noteContention() // where they queue
	}
	if t.woke || asks {
		defer w.onWoke(t.woke, asks)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// From the last to the first, so that they come to the front in order.
	for _, n := range slices.Backward(group) {
		if n.again() {
			w.queue = slices.Insert(w.queue, 0, n)
		} else if n != r {
			n.signal <- true
		}
	}
	w.passLead()
	return !slices.Contains(w.queue, r), r.err
}

// maxPanics is how often a request is run whose driver panics. The second time it
// is alone, on a connection of its own, and leaves alone what the driver cannot
// carry.
const maxPanics = 2

// again reports whether r, which was rolled back or refused to be one of many, is
// run again: in a transaction of its own, so that it fails for its own reasons
// only, unless it is known that another one was at fault.
func (r *request) again() bool {
	switch {
	case r.err == nil, r.tries >= maxTries:
		return false
	case errors.Is(r.err, errGroup):
		return true
	case hasPanicked(r.err) != nil:
		r.panics++
		r.solo = true
		return r.panics < maxPanics
	case busy(r.err), errors.Is(r.err, errAlone) && !r.solo:
		r.solo = true
		return true
	}
	return false
}

// maxShared is how often a request is run with others, when others fail.
const maxShared = 3

// errGroup is the error of a request whose group was rolled back.
var errGroup = errors.New("another request of the group failed")

// serve runs r and what else is queued in t, and sets their errors.
func (w *writer) serve(t *tx, r *request) (group []*request) {
	start := time.Now()
	t.alone = r.solo
	served := false // r, which must be, even when a slow one goes before it
	for !served || !t.alone && len(group) < maxGroup && time.Since(start) < maxGroupTime {
		n := w.next(t, r, served)
		if n == nil {
			break
		}
		group = append(group, n)
		served = served || n == r
		n.tries++
		t.firm = t.firm || n.firm
		if n.err = t.try(n); n.err != nil && !errors.As(n.err, new(rejected)) {
			break
		}
	}
	last := group[len(group)-1]
	err, doubt := last.err, false
	fault := last // nil if it may be any one's
	if err == nil || errors.As(err, new(rejected)) {
		if err = t.commit(); err == nil {
			return group
		}
		last.err, fault = err, nil
		_, told := resultCode(err)
		doubt = !told
	}
	last.err = explainPermission(w.path, w.withoutRoom(last.err))
	rolledBack := t.rollback()
	if p := hasPanicked(err); p != nil {
		t.deferredLogs = append(t.deferredLogs, func() {
			w.log.Error("plainjobs: the SQLite driver panicked", "op", last.op, "panic", fmt.Sprint(p.value), "stack", string(p.stack))
		})
		_ = w.drop() // it may have no memory left
		w.picky = true
	}
	if !rolledBack && doubt || errors.As(err, new(errGone)) {
		// What SQLite did not say has failed, and can be rolled back no more,
		// may be stored: to try again would store it twice. In a file that is
		// gone it is lost, and would be again.
		for _, n := range group {
			n.err = err
		}
		return group
	}
	if !served {
		group = append(group, w.take(r))
	}
	if len(group) > 1 {
		for _, n := range group {
			n.err = errGroup
			n.solo = n.solo || fault == nil || n == fault || n.tries >= maxShared
		}
	}
	return group
}

// withoutRoom adds ErrNoSpace to the error of a failed write if the file system
// is full: not every driver says so.
func (w *writer) withoutRoom(err error) error {
	if code, _ := resultCode(err); code == codeIOErrWrite && !diskFull(err) && isFull(w.path) {
		return fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	}
	return err
}

// next takes the next request of leader's group out of the queue: those that
// are to be first, then the leader, then the others, as far as the transaction
// suits them.
func (w *writer) next(t *tx, leader *request, served bool) *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	pick := -1
	for i, n := range w.queue {
		if n == leader {
			pick = i
			break
		}
		suits := !t.alone && !n.solo && (t.full || !n.full)
		if suits && (n.first || served) {
			pick = i
			break
		}
	}
	if pick < 0 {
		return nil
	}
	n := w.queue[pick]
	w.queue = slices.Delete(w.queue, pick, pick+1)
	return n
}

// take takes r out of the queue.
func (w *writer) take(r *request) *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.queue, r); i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
	return r
}

// wantsFull reports whether a queued request must be on disk.
func (w *writer) wantsFull(leader *request) bool {
	if leader.solo {
		return leader.full
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.queue, func(r *request) bool { return r.full && !r.solo })
}

// maxHeadPause bounds the pauses between the tries of who alone tries.
const maxHeadPause = 2 * time.Millisecond

// begin opens a transaction that holds the write lock, for a group of leader.
func (w *writer) begin(leader *request) (*tx, error) {
	var t *tx
	head, yielded := false, false
	pause := func() time.Duration {
		if head {
			return maxHeadPause
		}
		return maxRetryPause
	}
	err := retryUpTo(pause, leader.ctx, leader.until, func() (err error) {
		if !head {
			began := time.Now()
			head = w.lockQueue.wait(leader.ctx, leader.until)
			w.share.took(time.Since(began))
		}
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return backend.ErrClosed
		}
		if !yielded {
			yielded = true
			if err := w.yield(leader.ctx); err != nil {
				return err
			}
		}
		// What is queued may change with each try, and cannot be heeded any
		// more once the transaction is open.
		t, err = w.tryBegin(leader, w.wantsFull(leader))
		if busy(err) {
			w.lockQueue.noteContention()
			w.busy.note()
		}
		return err
	})
	if err != nil {
		w.lockQueue.release()
	}
	switch {
	case err == nil:
		w.busy.clear()
	case busy(err):
		err = errLocked(w.path, lockWait, err)
	default:
		err = w.late(err)
	}
	return t, err
}

func (w *writer) tryBegin(leader *request, full bool) (*tx, error) {
	if w.conn == nil {
		// A borrowed pool may have lent all it has.
		ctx, cancel := leader.ctx, context.CancelFunc(func() {})
		if _, ok := ctx.Deadline(); !ok {
			ctx, cancel = context.WithDeadline(ctx, leader.until)
		}
		conn, err := w.pool.Conn(ctx)
		cancel()
		if err != nil && ctx.Err() != nil && leader.ctx.Err() == nil {
			return nil, errLocked(w.path, lockWait, err)
		}
		if err != nil {
			return nil, err
		}
		w.conn, w.stmts = conn, map[string]*sql.Stmt{}
		w.full = true // as connections are set up
	}
	if full && w.unsyncedWAL {
		if err := w.checkpointAfterFailure(); err != nil {
			if leader.full {
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
	if w.sides == nil && w.path != "" && !w.borrow {
		sides := findSides(w.path)
		w.sides = &sides
	}
	return &tx{statements: w, w: w, full: full}, nil
}

// checkSides returns an error if a file beside the database is not the one that
// the connection has open.
func (w *writer) checkSides() error {
	if w.sides == nil {
		return nil
	}
	for i := range w.sides {
		if err := w.sides[i].check(); err != nil {
			return err
		}
	}
	return nil
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

// checkpointAfterFailure moves everything out of a WAL whose fsync failed: the kernel
// reports such a failure once and may drop the pages, so a later fsync that
// works says nothing about them.
func (w *writer) checkpointAfterFailure() error {
	var blocked, frames, moved int
	row := w.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	if err := row.Scan(&blocked, &frames, &moved); err != nil {
		return fmt.Errorf("checkpoint after a failed fsync: %w", err)
	}
	if blocked != 0 {
		return fmt.Errorf("%w: an fsync failed, and a reader holds up the checkpoint that must follow", backend.ErrUnavailable)
	}
	w.unsyncedWAL = false
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

func (w *writer) query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := w.prepare(query) //nolint:sqlclosecheck // it is kept with the connection
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(context.Background(), args...)
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
	if w.broken {
		w.conn, w.stmts, w.broken = nil, nil, false
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
	w.conn, w.stmts, w.sides = nil, nil, nil
	return errors.Join(errs...)
}

// late adds to the error of a call that ran out of time who has had the lock
// meanwhile.
func (w *writer) late(err error) error {
	wait := w.busy.since()
	if !errors.Is(err, context.DeadlineExceeded) || wait < noticeable {
		return err
	}
	return fmt.Errorf("%w: %s", err, locked(w.path, wait))
}

// shut lets no request in and those who wait for the lock go.
func (w *writer) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.lockQueue.closeFile()
	}
}

// disconnect closes the connection; no call is under way any more.
func (w *writer) disconnect() error {
	err := w.drop()
	if !w.borrow {
		err = errors.Join(err, w.pool.Close())
	}
	return err
}
