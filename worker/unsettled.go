package worker

import (
	"context"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// maxUnsettled is how many runs may have ended and not been stored. Above it slots wait:
// what is not stored when the process dies runs again.
const maxUnsettled = 1024

// An entry is the end of a run.
type entry struct {
	run     *run
	failure *backend.Failure // nil if the job is done
}

// unsettled holds the ends of runs until the settler takes them.
type unsettled struct {
	giveUp context.Context // ends at the time that close sets
	quit   context.CancelFunc

	mu        sync.Mutex
	added     sync.Cond // entries or the settler's part have changed
	stored    sync.Cond // there may be room
	entries   []entry
	taken     int  // the ends that the settler has
	unlimited bool // the worker stops: no bound
	closing   bool
}

func newUnsettled() *unsettled {
	u := &unsettled{}
	u.added.L, u.stored.L = &u.mu, &u.mu
	u.giveUp, u.quit = context.WithCancel(context.Background())
	return u
}

// offer adds the end of a run, or returns false if too many are not stored. A released
// run costs nothing to repeat and is always added.
func (u *unsettled) offer(r *run, failure *backend.Failure) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.full() && (failure == nil || failure.Ending != backend.EndRelease) {
		return false
	}
	u.append(r, failure)
	return true
}

// add adds the end of a run, however many are not stored.
func (u *unsettled) add(r *run, failure *backend.Failure) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.append(r, failure)
}

func (u *unsettled) append(r *run, failure *backend.Failure) {
	u.entries = append(u.entries, entry{run: r, failure: failure})
	if len(u.entries) == 1 {
		u.added.Signal()
	}
}

func (u *unsettled) full() bool {
	return len(u.entries)+u.taken >= maxUnsettled && !u.unlimited
}

// waitForRoom waits until an offer may be taken.
func (u *unsettled) waitForRoom() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.full() {
		u.stored.Wait()
	}
}

// removeBound removes the bound.
func (u *unsettled) removeBound() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.unlimited = true
	u.stored.Broadcast()
}

// close lets the settler end when all is stored, or at a time.
func (u *unsettled) close(until time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.unlimited, u.closing = true, true
	u.added.Signal()
	u.stored.Broadcast()
	time.AfterFunc(time.Until(until), u.quit)
}

// wake makes the settler look at what it has.
func (u *unsettled) wake() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.added.Signal()
}
