package mysql

import (
	"context"
	"database/sql"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	activityColumns = `at, name, done, retried, failed, cancelled, waited, ran`
	activityTail    = ` ON DUPLICATE KEY UPDATE done = VALUES(done), retried = VALUES(retried), failed = VALUES(failed), cancelled = VALUES(cancelled),
		waited = VALUES(waited), ran = VALUES(ran)`
	insertMinutes = `INSERT INTO plainjobs_activity_minute (` + activityColumns + `, worker) VALUES `
	insertHours   = `INSERT INTO plainjobs_activity_hour (` + activityColumns + `) VALUES `

	selectMinutes = `SELECT ` + activityColumns + ` FROM plainjobs_activity_minute WHERE at >= ?`
	selectHours   = `SELECT ` + activityColumns + ` FROM plainjobs_activity_hour WHERE at >= ? UNION ALL ` + selectMinutes

	// One process at a time folds, and the others leave it to that one.
	selectOldMinutes = `SELECT ` + activityColumns + `, worker FROM plainjobs_activity_minute WHERE at < ? ORDER BY at, name, worker LIMIT ?`
	selectHour       = `SELECT ` + activityColumns + ` FROM plainjobs_activity_hour WHERE at = ? AND name = ?`
	deleteHours      = `DELETE FROM plainjobs_activity_hour WHERE at < ?`
)

var deleteMinutes = `
	DELETE a FROM ` + join("at", "name*", "worker") + ` plainjobs_activity_minute a FORCE INDEX (PRIMARY)
	ON a.at = v.at AND a.name = UNHEX(v.name) AND a.worker = v.worker`

func scanActivity(r *sql.Rows, all *[]backend.Activity, more ...any) error {
	var a backend.Activity
	var at int64
	err := r.Scan(append([]any{&at, &a.Name, &a.Done, &a.Retried, &a.Failed, &a.Cancelled, &a.Waited, &a.Ran}, more...)...)
	a.At = instant(at)
	*all = append(*all, a)
	return err
}

// activityRow returns the columns of an activity.
func activityRow(a backend.Activity) []any {
	return []any{a.At.UnixMicro(), a.Name, a.Done, a.Retried, a.Failed, a.Cancelled, notNil(a.Waited), notNil(a.Ran)}
}

// notNil returns a value that is not nil, which would be NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// addActivity stores what a worker sent in a heartbeat.
func (t *tx) addActivity(worker int64, sent []backend.Activity, now time.Time) error {
	rows := insert{head: insertMinutes, tail: activityTail}
	for _, a := range sent {
		if lifecycle.TakesActivity(a.At, now) {
			if err := rows.add(t, append(activityRow(a), worker)...); err != nil {
				return err
			}
		}
	}
	return rows.flush(t)
}

// foldActivity merges at most limit old minutes by the hour and deletes old hours, once for each
// hour and process. It reports whether there may be more.
func (t *tx) foldActivity(micros int64, limit int) (more bool, err error) {
	now := instant(micros)
	first := lifecycle.OldestMinute(now)
	if t.b.folded.Load() == first.Unix() {
		return false, nil
	}
	free, err := t.ids(lockCompaction)
	if err != nil || len(free) == 0 {
		return false, err
	}
	var old []backend.Activity
	var gone values
	err = t.each(selectOldMinutes, []any{first.UnixMicro(), limit}, func(r *sql.Rows) error {
		var worker int64
		err := scanActivity(r, &old, &worker)
		a := old[len(old)-1]
		gone.add(a.At.UnixMicro(), a.Name, worker)
		return err
	})
	if err != nil {
		return false, err
	}
	if more = len(old) == limit; len(old) > 0 {
		for _, a := range lifecycle.ActivityByHour(old) {
			err := t.each(selectHour, []any{a.At.UnixMicro(), a.Name}, func(r *sql.Rows) error { return scanActivity(r, &old) })
			if err != nil {
				return false, err
			}
		}
		if err := t.later(deleteMinutes, gone); err != nil {
			return false, err
		}
		rows := insert{head: insertHours, tail: activityTail}
		for _, a := range lifecycle.ActivityByHour(old) {
			if err := rows.add(t, activityRow(a)...); err != nil {
				return false, err
			}
		}
		if err := rows.flush(t); err != nil {
			return false, err
		}
	}
	if err := t.later(deleteHours, now.Add(-backend.KeepHours).Truncate(time.Hour).UnixMicro()); err != nil {
		return false, err
	}
	if !more {
		t.b.folded.Store(first.Unix())
	}
	return more, nil
}

// Activity implements [backend.Reader].
func (b *Backend) Activity(ctx context.Context, req backend.ActivityRequest) (backend.Activities, error) {
	var all []backend.Activity
	var now time.Time
	err := b.readAtOnce(ctx, "activity", func(q querier) error {
		all = nil
		err := b.scan(ctx, q, selectNow, nil, func(r *sql.Rows) error {
			var micros int64
			err := r.Scan(&micros)
			now = instant(micros)
			return err
		})
		if err != nil {
			return err
		}
		query, since := selectMinutes, now.Add(-req.Past)
		args := []any{since.UnixMicro()}
		if req.Hours {
			since = since.Add(time.Hour - time.Microsecond).Truncate(time.Hour) // whole hours
			query, args = selectHours, []any{since.UnixMicro(), since.UnixMicro()}
		}
		return b.scan(ctx, q, query, args, func(r *sql.Rows) error { return scanActivity(r, &all) })
	})
	if err != nil {
		return backend.Activities{}, err
	}
	merge := lifecycle.MergeActivity
	if req.Hours {
		merge = lifecycle.ActivityByHour
	}
	return backend.Activities{Activities: merge(all), Now: now}, nil
}
