package child

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// An effect is a row that a handler stores in the transaction that completes
// its job: one row for each job, however often the job runs.
const createEffects = "CREATE TABLE IF NOT EXISTS torture_effects (job INTEGER NOT NULL)"

// application returns the application's own connections to the database.
func (c *child) application() (*sql.DB, error) {
	db, err := sql.Open(c.SQL, "file:"+c.Path+"?_txlock=immediate&_busy_timeout=60000&_pragma=busy_timeout(60000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	if _, err = db.Exec(createEffects); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// An effector has the application's connections, once a handler needs them.
type effector struct {
	mu sync.Mutex
	db *sql.DB
}

// open returns the application's connections.
func (e *effector) open(c *child) (db *sql.DB, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.db == nil {
		e.db, err = c.application()
	}
	return e.db, err
}

// effect stores a row and completes the job in one transaction. It calls works
// just before the commit.
func (h *handler) effect(ctx context.Context, id int64, c claim, works func()) error {
	db, err := h.app.open(h.child)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	if _, err := tx.ExecContext(ctx, "INSERT INTO torture_effects VALUES (?)", id); err != nil {
		return err
	}
	if err := plainjobs.Complete(ctx, tx); err != nil {
		return err
	}
	works()
	_, err = h.settle(ctx, "commit", 1,
		func(int) (int64, string) { return c.Token, "done" },
		func() ([]backend.Lease, error) { return nil, tx.Commit() })
	return err
}

// effects returns how often each job has had its effect.
func (s *server) effects(ctx context.Context) (map[int64]int, error) {
	all := map[int64]int{}
	err := s.raw(func(conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, createEffects); err != nil {
			return err
		}
		rows, err := conn.QueryContext(ctx, "SELECT job FROM torture_effects")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			all[id]++
		}
		return rows.Err()
	})
	return all, err
}
