package sqlite

import (
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// maxPanics is how often a request runs whose driver panics. The second time it runs
// alone, on a new connection, and skips payloads that are too large for the driver.
const maxPanics = 2

// again reports whether r runs again after a rollback or errAlone. It then runs in its
// own transaction, so that it fails only for its own reasons, unless another request
// is known to have failed.
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

// maxShared is how often a request runs in a group whose other requests fail.
const maxShared = 3

// errGroup is the error of a request whose group was rolled back.
var errGroup = errors.New("another request of the group failed")

// serve runs a group that includes r in t, and sets the errors of its requests.
func (w *writer) serve(t *tx, r *request) (group []*request) {
	start := time.Now()
	t.alone = r.solo
	served := false // r has run; it must, even after a slow first request
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
	fault := last // nil if it may be any request
	if err == nil || errors.As(err, new(rejected)) {
		if err = t.commit(); err == nil {
			return group
		}
		last.err, fault = err, nil
		_, known := resultCode(err)
		doubt = !known
	}
	last.err = explainPermission(w.path, w.withoutRoom(last.err))
	rolledBack := t.rollback()
	if p := hasPanicked(err); p != nil {
		t.deferredLogs = append(t.deferredLogs, func() {
			w.log.Error("plainjobs: the SQLite driver panicked", "op", last.op, "panic", fmt.Sprint(p.value), "stack", string(p.stack))
		})
		_ = w.drop() // the connection may have no memory left
		w.picky = true
	}
	if !rolledBack && doubt || errors.As(err, new(errGone)) {
		// If SQLite reported no failure and cannot roll back, the group may be
		// stored: another try could store it twice. If the file is gone, the group
		// is lost, and another try would be, too.
		for _, n := range group {
			n.err = err
		}
		return group
	}
	if !served {
		group = append(group, w.dequeue(r))
	}
	if len(group) > 1 {
		for _, n := range group {
			n.err = errGroup
			n.solo = n.solo || fault == nil || n == fault || n.tries >= maxShared
		}
	}
	return group
}

// withoutRoom adds ErrNoSpace to the error of a failed write if the file system is
// full. Not every driver reports that.
func (w *writer) withoutRoom(err error) error {
	if code, _ := resultCode(err); code == codeIOErrWrite && !diskFull(err) && host.IsFull(w.path) {
		return fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	}
	return err
}
