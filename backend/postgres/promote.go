package postgres

import (
	"database/sql"
)

const promoteJobs = `SELECT jobs FROM plainjobs.promote_jobs($1::bigint, $2::bigint)`

// promote makes at most limit due jobs pending and returns their number.
func (t *tx) promote(limit int) (n int, err error) {
	now, err := t.now()
	if err != nil {
		return 0, err
	}
	err = t.each(promoteJobs, []any{now, limit}, func(r *sql.Rows) error {
		jobs := 0
		err := r.Scan(&jobs)
		n += jobs
		t.wakes, t.again = true, true
		t.b.compactor.due.Add(2)
		return err
	})
	return n, err
}
