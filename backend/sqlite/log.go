package sqlite

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectLogs = `SELECT j.failures, p.logs FROM plainjobs_job j LEFT JOIN plainjobs_job_progress p ON p.job = j.id WHERE j.id = ?`
	upsertLogs = `
		INSERT INTO plainjobs_job_progress (job, done, total, logs) VALUES (?, 0, 0, ?)
		ON CONFLICT (job) DO UPDATE SET logs = excluded.logs`
)

var deleteLogsOf = newList(`UPDATE plainjobs_job_progress SET logs = NULL WHERE logs IS NOT NULL AND job IN (`, `?`, `)`)

// storeLog stores the log of a run, whose lease is held. Its job has flagProgress.
func (b *Backend) storeLog(t *tx, p backend.Progress) error {
	var failures int
	var stored []byte
	err := t.each(selectLogs, []any{p.ID}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&failures, &stored) })
	if err == nil {
		_, err = t.exec(upsertLogs, p.ID, lifecycle.PutLog(stored, p.Token, failures+1, p.Log, b.now()))
	}
	return err
}
