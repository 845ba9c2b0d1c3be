package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
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
	lockQueue *host.LockQueue
	share     share // the leader's
	busy      busySince

	mu     sync.Mutex
	queue  []*request
	leader *request // nil if nobody leads
	closed bool

	// The rest belongs to the leader.
	conn        *sql.Conn
	sides       *[2]sideFile // of conn; nil if it was not looked for yet
	broken      bool         // the driver panicked in conn, which is borrowed and cannot be closed any more
	stmts       map[string]*sql.Stmt
	full        bool // what PRAGMA synchronous is set to
	unsyncedWAL bool // an fsync failed: no push before a checkpoint succeeds
	names       map[string]int64
	nameOf      map[int64]string
	carries     int64 // the largest payload that the driver can carry
	picky       bool  // the driver panicked: what it cannot carry is left to others
	leases      leaseCache
	lastClaim   int // how many jobs the last claim returned
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

// write runs a request whose results are nothing but its error.
func (b *Backend) write(ctx context.Context, r *request) error {
	leave, err := b.enter()
	if err == nil {
		defer leave()
		r.full = r.firm && b.opts.Durability == backend.PowerLoss
		err = b.writer.do(ctx, r)
	}
	return failed(ctx, r.op, err)
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
	w.lockQueue.Release()
	defer t.runDeferredLogs()
	asks := w.share.rings()
	if asks && w.share.company() {
		w.lockQueue.NoteContention() // where they queue
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

// shut lets no request in and those who wait for the lock go.
func (w *writer) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.lockQueue.Stop()
	}
}
