package postgres

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
)

const promoteJobs = `
	UPDATE plainjobs.jobs SET state = 3
	WHERE id = ANY(ARRAY(
		SELECT id FROM plainjobs.jobs WHERE state = 1 AND run_at <= $1::bigint ORDER BY run_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED))
	RETURNING run_at, name`

// promote makes at most limit due jobs pending and returns their number.
func (t *tx) promote(limit int) (n int, err error) {
	now, err := t.now()
	if err != nil {
		return 0, err
	}
	err = t.each(promoteJobs, []any{now, limit}, func(r *sql.Rows) error {
		var runAt int64
		var name string
		err := r.Scan(&runAt, &name)
		t.move(name, backend.Scheduled, backend.Pending, 1)
		t.ready(runAt)
		n++
		return err
	})
	return n, err
}
