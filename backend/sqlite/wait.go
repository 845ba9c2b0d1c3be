package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// pollInterval is how soon a commit of another process, or of another
// connection of this one, is noticed.
const pollInterval = 100 * time.Millisecond

// A watch tells waiting workers of changes: at once of the writer's, and by
// the database's data_version of anybody's. Looking takes no lock and, as long
// as nothing changes, reads no page.
type watch struct {
	mu      sync.Mutex
	changed chan struct{}
	closed  bool

	asking  sync.Mutex // apart from mu, which a committing writer needs
	conn    *sql.Conn  // of the readers: data_version counts by connection
	version *sql.Stmt
}

// channel returns a channel that is closed at the next change, and whether the
// store is closed.
func (w *watch) channel() (<-chan struct{}, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed, w.closed
}

// ring wakes those who wait.
func (w *watch) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.ring()
}

func (w *watch) disconnect() error {
	w.asking.Lock()
	defer w.asking.Unlock()
	return w.drop()
}

// drop gives the connection up. The caller holds asking.
func (w *watch) drop() error {
	if w.conn == nil {
		return nil
	}
	err := errors.Join(w.version.Close(), w.conn.Close())
	w.conn = nil
	return err
}

// dataVersion returns a number that changes with every commit of others.
func (w *watch) dataVersion(readers *sql.DB) (v int64, err error) {
	w.asking.Lock()
	defer w.asking.Unlock()
	ctx := context.Background() // it never waits, and a cancellable one costs as much again
	if w.conn == nil {
		conn, err := readers.Conn(ctx)
		if err != nil {
			return 0, err
		}
		version, err := conn.PrepareContext(ctx, "PRAGMA data_version")
		if err != nil {
			return 0, errors.Join(err, conn.Close())
		}
		w.conn, w.version = conn, version
	}
	if err := w.version.QueryRowContext(ctx).Scan(&v); err != nil {
		return 0, errors.Join(err, w.drop()) // the next call gets another
	}
	return v, nil
}

const (
	selectReady = `
		SELECT EXISTS (
			SELECT 1 FROM plainjobs_jobs INDEXED BY plainjobs_pending WHERE state = 3 AND suspect = 0
				AND name IN (SELECT n.id FROM plainjobs_names n JOIN json_each(?1) e ON n.name = e.value))
		OR ?2 AND EXISTS (
			SELECT 1 FROM plainjobs_jobs INDEXED BY plainjobs_suspects WHERE state = 3 AND suspect = 1
				AND name IN (SELECT n.id FROM plainjobs_names n JOIN json_each(?1) e ON n.name = e.value))`

	selectNextDue = `
		SELECT coalesce(min(run_at), 0) FROM plainjobs_jobs INDEXED BY plainjobs_scheduled WHERE state = 1 AND run_at > (?+0)`

	// Of those that are due, as many as a claim makes pending. If there are
	// more, claims go on until there are not.
	selectAnyDue = `
		SELECT EXISTS (
			SELECT 1 FROM (
				SELECT name FROM plainjobs_jobs INDEXED BY plainjobs_scheduled WHERE state = 1 AND run_at <= (?2+0) ORDER BY run_at LIMIT 1000)
			WHERE name IN (SELECT n.id FROM plainjobs_names n JOIN json_each(?1) e ON n.name = e.value))
		OR (SELECT count(*) FROM (
			SELECT 1 FROM plainjobs_jobs INDEXED BY plainjobs_scheduled WHERE state = 1 AND run_at <= (?2+0) LIMIT 1001)) > 1000`
)

// Wait implements [backend.Waiter].
func (b *Backend) Wait(ctx context.Context, req backend.ClaimRequest) error {
	if err := backend.CheckClaim(req); err != nil {
		return failed(ctx, "wait", err)
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		changed, closed := b.watch.channel()
		if closed {
			return failed(ctx, "wait", backend.ErrClosed)
		}
		ready, due, version, err := b.look(ctx, req)
		if err != nil && !busy(err) {
			return failed(ctx, "wait", err)
		}
		if ready {
			return nil
		}
		if err := b.sleep(ctx, changed, ticker.C, due, version); err != nil {
			return failed(ctx, "wait", err)
		}
	}
}

// look reports whether a claim may find a job, when the next one is due in
// microseconds (or 0), and the version that this holds for.
func (b *Backend) look(ctx context.Context, req backend.ClaimRequest) (ready bool, due, version int64, err error) {
	leave, err := b.enter()
	if err != nil {
		return false, 0, 0, err
	}
	defer leave()
	if b.readers != nil {
		if version, err = b.watch.dataVersion(b.readers); err != nil {
			return false, 0, 0, err
		}
	}
	err = b.read(ctx, func(q queryer) error {
		names, free, err := b.runnable(ctx, q, req)
		if err != nil {
			return err
		}
		text := namesJSON(names)
		err = scan(ctx, q, b.sql(selectReady), []any{text, req.Suspects}, func(r *sql.Rows) error { return r.Scan(&ready) })
		if err != nil || ready {
			return err
		}
		now := b.now()
		err = scan(ctx, q, b.sql(selectAnyDue), []any{text, now}, func(r *sql.Rows) error { return r.Scan(&ready) })
		if err != nil || ready {
			return err
		}
		err = scan(ctx, q, b.sql(selectNextDue), []any{now}, func(r *sql.Rows) error { return r.Scan(&due) })
		if free != 0 && (due == 0 || free < due) {
			due = free
		}
		return err
	})
	return ready, due, version, err
}

// runnable returns those of names of which a claim may return jobs, and when
// the rate of another allows one, or 0.
func (b *Backend) runnable(ctx context.Context, q queryer, req backend.ClaimRequest) (allowed []string, free int64, err error) {
	var set settings
	if err := scan(ctx, q, b.sql(selectSettings), nil, set.scan); err != nil || len(set) == 0 && len(req.Caps) == 0 {
		return req.Names, 0, err
	}
	if set[everything].paused {
		return nil, 0, nil
	}
	for _, name := range req.Names {
		if n, ok := req.Caps[name]; ok && n <= 0 {
			continue
		}
		var id int64
		err := scan(ctx, q, b.sql(selectName), []any{name}, func(r *sql.Rows) error { return r.Scan(&id) })
		if err != nil {
			return nil, 0, err
		}
		s := set[id]
		if s.paused || s.limited() && req.Ahead >= req.Limit {
			continue
		}
		if s.maxRunning > 0 {
			running := int64(0)
			err := scan(ctx, q, b.sql(selectRunning), []any{id}, func(r *sql.Rows) error { return r.Scan(&running) })
			if err != nil {
				return nil, 0, err
			}
			if running >= s.maxRunning {
				continue
			}
		}
		at, err := b.freeAt(ctx, q, id, s)
		if err != nil {
			return nil, 0, err
		}
		if at > b.now() {
			if free == 0 || at < free {
				free = at
			}
			continue
		}
		allowed = append(allowed, name)
	}
	return allowed, free, nil
}

// sleep returns nil when it is worth looking again.
func (b *Backend) sleep(ctx context.Context, changed <-chan struct{}, tick <-chan time.Time, due, version int64) error {
	var alarm <-chan time.Time
	if due != 0 {
		timer := time.NewTimer(time.Duration(due-b.now()) * time.Microsecond)
		defer timer.Stop()
		alarm = timer.C
	}
	for {
		select {
		case <-changed:
			return nil
		case <-alarm:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
		if b.readers == nil || due != 0 && due <= b.now() {
			return nil // nothing tells of changes, or the clock was moved
		}
		leave, err := b.enter()
		if err != nil {
			return err
		}
		v, err := b.watch.dataVersion(b.readers)
		leave()
		if err != nil && !busy(err) {
			return err
		}
		if err == nil && v != version {
			return nil
		}
	}
}
