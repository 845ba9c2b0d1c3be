package mysql

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectLogs     = `SELECT logs FROM plainjobs_job_progress WHERE job = ?`
	upsertLogs     = `INSERT INTO plainjobs_job_progress (job, done, total, logs) VALUES `
	upsertLogsTail = ` ON DUPLICATE KEY UPDATE logs = VALUES(logs)`
	deleteLogs     = `UPDATE plainjobs_job_progress FORCE INDEX (PRIMARY) SET logs = NULL WHERE job IN (?)`
)

// addLog adds the log of a run, whose job is locked and whose lease is held, to rows.
func (t *tx) addLog(rows *insert, r *row, p backend.Progress) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	var stored []byte
	err = t.each(selectLogs, []any{r.id}, func(rows *sql.Rows) error { return rows.Scan(&stored) })
	if err != nil {
		return err
	}
	return rows.add(t, r.id, 0, 0, lifecycle.PutLog(stored, p.Token, r.Failures+1, p.Log, now))
}
