package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// The limits of a group.
const (
	maxGroup     = 512
	maxGroupTime = 5 * time.Millisecond
)

// A writer runs all writes of a store on one connection, with group commit. Requests
// that arrive during a transaction wait, and the next transaction runs all of them:
// one lock, one commit and one fsync for the group.
//
// There is no goroutine and no timer. A call that finds no leader leads: it runs one
// group, and passes the lead to the first waiting call. A request without company is
// never passed to another goroutine.
type writer struct {
	pool   *sql.DB
	only   bool // the database is in memory and ends with the pool's connection
	borrow bool // the pool is the application's: its connection goes back after each group
	prefix string
	path   string // empty if the database has no file
	file   *databaseFile
	// onPush is called before jobs with the names are pushed, and reports whether a
	// call waits for them. onWake is called after a commit that made jobs claimable,
	// see changeWatcher.notify. onWoke is called when the lead has been passed on
	// after such a commit, or when it is time to ask the applications of other
	// processes whether they want the lock.
	onPush    func(names []string) bool
	onWake    func(pushed []string)
	onWoke    func(woke, asks bool)
	log       *slog.Logger
	lockQueue *host.LockQueue
	share     share // used by the leader
	busy      busySince

	settings atomic.Pointer[storedSettings]

	mu     sync.Mutex
	queue  []*request
	leader *request // nil if there is no leader
	closed bool

	// Only the leader uses the fields below.
	conn        *sql.Conn
	sides       *[2]sideFile // the files next to the database that conn has open; nil if not known yet
	broken      bool         // the driver panicked in conn, which is borrowed and can no longer be closed
	stmts       map[string]*sql.Stmt
	full        bool // PRAGMA synchronous is FULL
	unsyncedWAL bool // an fsync failed: no push before a checkpoint succeeds
	names       map[string]int64
	nameOf      map[int64]string
	carries     int64 // the largest payload that the driver can carry
	picky       bool  // the driver has panicked: jobs with larger payloads are left to other processes
	leases      leaseCache
	lastClaim   int               // the number of jobs that the last claim returned
	pushSeed    int64             // of the jobs that are pushed, see tx.pushSeed
	lastPushed  int64             // the greatest ID of a pushed job
	asked       []*nameSet        // what was claimed of, the latest first
	renewals    map[int64]renewal // by worker
}

// A request is a unit of work. It is committed as a whole or not at all.
type request struct {
	op    string
	firm  bool // once acknowledged it must not be lost
	full  bool // it must be on disk before it is acknowledged
	first bool // it runs before the other requests of its group
	// pushes are the names of the jobs that it makes claimable.
	pushes []string
	// run executes the request in t. It may be called again after a rollback, so it
	// must reset its results.
	run func(t *tx) error

	ctx    context.Context
	until  time.Time // when to give up waiting for the lock if ctx has no deadline
	solo   bool      // runs in its own transaction
	tries  int
	panics int
	err    error
	signal chan bool // true: done; false: lead
}

// write runs a request and wraps its error.
func (b *Backend) write(ctx context.Context, r *request) error {
	leave, err := b.enter()
	if err == nil {
		defer leave()
		r.full = r.firm && b.opts.Durability == backend.PowerLoss
		if err = b.writer.do(ctx, r); b.passing.Load() {
			b.passOn(ctx)
		}
	}
	return failed(ctx, r.op, err)
}

// maxTries is how often a request runs that finds the database busy although its
// transaction has the lock.
const maxTries = 10

// rejected is the error of a request that has written nothing, so that its group can
// continue.
type rejected struct{ error }

func (r rejected) Unwrap() error { return r.error }

// errAlone makes the writer run a request again in its own transaction.
var errAlone = errors.New("run again alone")

// do runs r and returns its error. It returns the context's error only if nothing of
// r is stored.
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
		// The waiting worker's claim shares the transaction: the jobs are claimed
		// when they are stored.
		runtime.Gosched()
	}

	var patience <-chan time.Time
	for {
		if leads {
			if done, err := w.lead(r); done {
				return err
			}
			leads = false // r is in the queue again
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

// enqueue adds r to the queue: at the end, or after the other first requests. The
// caller holds mu.
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

// withdraw removes r from the queue, if it is still there, and passes its lead on.
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

// passLead passes the lead to the first waiting request. The caller holds mu.
func (w *writer) passLead() {
	w.leader = nil
	if len(w.queue) > 0 {
		w.leader = w.queue[0]
		w.leader.signal <- false
	}
}

// lead acquires the write lock, runs a group that includes r, and passes the lead on.
// If r's context ends before the lock is held, lead gives up. It returns false if r
// is in the queue again.
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
	asks := w.share.shouldSignal()
	if asks && w.share.hasPeers() {
		w.lockQueue.NoteContention() // other processes queue there for their applications
	}
	if t.woke || asks {
		defer w.onWoke(t.woke, asks)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// Backwards, so that they are in order at the front of the queue.
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

// next removes the next request of the leader's group from the queue: first requests,
// then the leader, then the others. It skips requests that need another transaction.
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

// isIdle reports whether no request waits for a transaction.
func (w *writer) isIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) == 0
}

// dequeue removes r from the queue.
func (w *writer) dequeue(r *request) *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.queue, r); i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
	return r
}

// wantsFull reports whether the group has a request that must be on disk.
func (w *writer) wantsFull(leader *request) bool {
	if leader.solo {
		return leader.full
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.queue, func(r *request) bool { return r.full && !r.solo })
}

// shut rejects new requests and ends all waiting for the lock queue.
func (w *writer) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.lockQueue.Stop()
	}
}
