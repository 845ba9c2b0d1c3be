package sqlite

import (
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

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
	if code, _ := resultCode(err); code == codeIOErrWrite && !diskFull(err) && host.IsFull(w.path) {
		return fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	}
	return err
}
