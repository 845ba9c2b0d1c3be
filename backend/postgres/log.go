package postgres

import (
	"cmp"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectLogs = `
		SELECT j.failures, p.logs FROM plainjobs.job j LEFT JOIN plainjobs.job_progress p ON p.job = j.id
		WHERE j.id = $1::bigint AND j.seed = $2::bigint - $1::bigint AND j.state = 3 FOR SHARE OF j`
	upsertLogs = `
		INSERT INTO plainjobs.job_progress AS p (job, done, total, logs) VALUES ($1::bigint, 0, 0, $2::bytea)
		ON CONFLICT (job) DO UPDATE SET logs = excluded.logs`
)

// storeLogs stores the logs of runs whose leases are held.
func (t *tx) storeLogs(logs []backend.Progress) error {
	if len(logs) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	slices.SortStableFunc(logs, func(a, b backend.Progress) int { return cmp.Compare(a.ID, b.ID) }) // rows are locked in ID order, like everywhere
	for _, p := range logs {
		held, failures := false, 0
		var stored []byte
		err := t.each(selectLogs, []any{p.ID, p.Token}, func(r *sql.Rows) error {
			held = true
			return r.Scan(&failures, &stored)
		})
		if err != nil {
			return err
		}
		if !held {
			continue
		}
		if _, err := t.exec(upsertLogs, p.ID, lifecycle.PutLog(stored, p.Token, failures+1, p.Log, now)); err != nil {
			return err
		}
	}
	return nil
}
