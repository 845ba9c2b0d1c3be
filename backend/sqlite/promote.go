package sqlite

import (
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// maxPromote is the most due jobs that one claim makes pending.
const maxPromote = 1000

const selectDue = `
	SELECT id, name, suspect, priority, run_at, flags FROM plainjobs_job INDEXED BY plainjobs_job_scheduled
	WHERE state = 1 AND run_at <= (?+0) ORDER BY run_at LIMIT (?+0)`

var updateDue = newList(`UPDATE plainjobs_job SET state = 3 WHERE id IN (`, `?`, `)`)

// promote makes at most limit due jobs pending and returns their number.
func (t *tx) promote(now int64, limit int) (int, error) {
	var due []row
	err := t.each(t.checkSize(selectDue), []any{now, limit}, func(rows *sql.Rows) (bool, error) {
		var r row
		err := rows.Scan(&r.id, &r.name, &r.Suspect, &r.Priority, &r.RunAt, &r.flags)
		due = append(due, r)
		return true, err
	})
	if err != nil || len(due) == 0 {
		return 0, err
	}
	for i := range due {
		if err := t.promoteFair(&due[i], now); err != nil {
			return 0, err
		}
	}
	slices.SortFunc(due, compareIDs) // jobs that follow each other are one span
	ids := make([]int64, len(due))
	names := map[int64]int64{}
	for i := range due {
		r := &due[i]
		ids[i] = r.id
		names[r.name]++
		t.addReady(r.name, r.Suspect, r.Priority, r.RunAt, r.id)
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

// promoteFair gives a due job its turn.
func (t *tx) promoteFair(r *row, now int64) error {
	if r.flags&flagFair == 0 {
		return nil
	}
	r.State = backend.Scheduled
	next := r.Ready(now)
	if err := t.takeTurn(r.id, r.name, r.flags, r.Job, &next, now); err != nil {
		return err
	}
	r.RunAt = next.RunAt
	_, err := t.exec(updatePlace, r.RunAt, r.id)
	return err
}

const selectExpiring = `
	SELECT ` + rowColumns + ` FROM plainjobs_job j INDEXED BY plainjobs_job_expiring
	WHERE j.expires_at IS NOT NULL AND j.state < 4 AND j.expires_at <= (?+0) ORDER BY j.expires_at LIMIT (?+0)`

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
