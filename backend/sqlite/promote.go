package sqlite

import (
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// maxPromote is the most due jobs that one claim makes pending.
const maxPromote = 1000

const selectDue = `
	SELECT id, name FROM plainjobs_jobs INDEXED BY plainjobs_scheduled
	WHERE state = 1 AND run_at <= (?+0) ORDER BY run_at LIMIT (?+0)`

var updateDue = newList(`UPDATE plainjobs_jobs SET state = 3 WHERE id IN (`, `?`, `)`)

// promote makes at most limit due jobs pending and returns their number.
func (t *tx) promote(now int64, limit int) (int, error) {
	var ids []int64
	names := map[int64]int64{}
	err := t.each(t.checkSize(selectDue), []any{now, limit}, func(r *sql.Rows) (bool, error) {
		var id, name int64
		err := r.Scan(&id, &name)
		ids = append(ids, id)
		names[name]++
		return true, err
	})
	if err != nil {
		return 0, err
	}
	for part := range slices.Chunk(ids, maxList) {
		query, length := updateDue.fit(len(part))
		if _, err := t.exec(query, appendIDs(nil, part, length)...); err != nil {
			return 0, err
		}
	}
	for name, n := range names {
		t.move(name, backend.Scheduled, backend.Pending, n)
	}
	return len(ids), nil
}

const selectExpiring = `
	SELECT ` + rowColumns + ` FROM plainjobs_jobs INDEXED BY plainjobs_expiring
	WHERE expires_at IS NOT NULL AND state < 4 AND expires_at <= (?+0) ORDER BY expires_at LIMIT (?+0)`

// expire cancels at most limit waiting jobs that have expired, and returns their
// number.
func (b *Backend) expire(t *tx, now int64, limit int) (int, error) {
	rows, err := t.rows(selectExpiring, now, limit)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		r, err := t.row(r.id) // the end of an earlier one may have unblocked it
		if err != nil {
			return 0, err
		}
		next, e := r.Expire(now)
		if err := b.put(t, r, next, now, e); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}
