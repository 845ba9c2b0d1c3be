package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	activityColumns = `done, retried, failed, cancelled, waited, ran`

	replaceMinute = `REPLACE INTO plainjobs_activity_minute (at, name, worker, ` + activityColumns + `) VALUES (?,?,?,?,?,?,?,?,?)`
	replaceHour   = `REPLACE INTO plainjobs_activity_hour (at, name, ` + activityColumns + `) VALUES (?,?,?,?,?,?,?,?)`

	selectMinutes = `
		SELECT a.at, n.name, ` + activityColumns + ` FROM plainjobs_activity_minute a JOIN plainjobs_job_name n ON n.id = a.name WHERE a.at >= ?1`
	// One statement, so that Reap does not move a row between two reads.
	selectHours = `
		SELECT a.at, n.name, ` + activityColumns + ` FROM plainjobs_activity_hour a JOIN plainjobs_job_name n ON n.id = a.name WHERE a.at >= ?1
		UNION ALL ` + selectMinutes

	selectOldMinutes = `
		SELECT a.at, n.name, ` + activityColumns + `, a.name, a.worker
		FROM plainjobs_activity_minute a JOIN plainjobs_job_name n ON n.id = a.name WHERE a.at < ? ORDER BY a.at, a.name, a.worker LIMIT ?`
	selectHour = `
		SELECT a.at, n.name, ` + activityColumns + ` FROM plainjobs_activity_hour a JOIN plainjobs_job_name n ON n.id = a.name
		WHERE a.at = ? AND n.name = ?`
	deleteOldMinutes = `DELETE FROM plainjobs_activity_minute WHERE (at, name, worker) <= (?, ?, ?)`
	deleteOldHours   = `DELETE FROM plainjobs_activity_hour WHERE at < ?`
)

// scanActivity scans the time, the name and activityColumns, and then others.
func scanActivity(r *sql.Rows, others ...any) (backend.Activity, error) {
	var a backend.Activity
	var at int64
	err := r.Scan(append([]any{&at, &a.Name, &a.Done, &a.Retried, &a.Failed, &a.Cancelled, &a.Waited, &a.Ran}, others...)...)
	a.At = instant(at)
	return a, err
}

// blob returns bytes that are stored as an empty blob and not as NULL.
func blob(b []byte) []byte { return append([]byte{}, b...) }

// addActivity stores what a worker sent in a heartbeat.
func (t *tx) addActivity(worker int64, sent []backend.Activity, now time.Time) error {
	for _, a := range sent {
		if !lifecycle.TakesActivity(a.At, now) {
			continue
		}
		name, err := t.nameID(a.Name)
		if err == nil {
			_, err = t.exec(replaceMinute, a.At.UnixMicro(), name, worker, a.Done, a.Retried, a.Failed, a.Cancelled, blob(a.Waited), blob(a.Ran))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// foldActivity merges at most limit old minutes by the hour and deletes old hours. It
// reports whether there may be more.
func (b *Backend) foldActivity(ctx context.Context, limit int) (more bool, err error) {
	now := instant(b.now())
	first := lifecycle.OldestMinute(now)
	if b.folded.Swap(first.Unix()) == first.Unix() {
		return false, nil // this process has folded since the hour began
	}
	err = b.writer.do(ctx, &request{op: "fold activity", run: func(t *tx) error {
		more = false
		n, err := b.foldMinutes(t, first, limit)
		if err != nil {
			return err
		}
		more = n == limit
		_, err = t.exec(deleteOldHours, now.Add(-backend.KeepHours).Truncate(time.Hour).UnixMicro())
		return err
	}})
	if err != nil || more {
		b.folded.Store(0)
	}
	return more, err
}

// foldMinutes merges at most limit minutes before first, and returns their number.
func (b *Backend) foldMinutes(t *tx, first time.Time, limit int) (int, error) {
	var old []backend.Activity
	var last [3]any
	err := t.each(selectOldMinutes, []any{first.UnixMicro(), limit}, func(r *sql.Rows) (bool, error) {
		var name, worker int64
		a, err := scanActivity(r, &name, &worker)
		last = [3]any{a.At.UnixMicro(), name, worker}
		old = append(old, a)
		return true, err
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	folded := len(old)
	for _, h := range lifecycle.ActivityByHour(old) {
		err := t.each(selectHour, []any{h.At.UnixMicro(), h.Name}, func(r *sql.Rows) (bool, error) {
			stored, err := scanActivity(r)
			h = lifecycle.MergeActivity([]backend.Activity{h, stored})[0]
			return false, err
		})
		if err != nil {
			return 0, err
		}
		name, err := t.nameID(h.Name)
		if err == nil {
			_, err = t.exec(replaceHour, h.At.UnixMicro(), name, h.Done, h.Retried, h.Failed, h.Cancelled, blob(h.Waited), blob(h.Ran))
		}
		if err != nil {
			return 0, err
		}
	}
	_, err = t.exec(deleteOldMinutes, last[:]...)
	return folded, err
}

// Activity implements [backend.Reader].
func (b *Backend) Activity(ctx context.Context, req backend.ActivityRequest) (backend.Activities, error) {
	leave, err := b.enter()
	if err != nil {
		return backend.Activities{}, failed(ctx, "activity", err)
	}
	defer leave()
	now := instant(b.now())
	since := now.Add(-req.Past)
	var all []backend.Activity
	query := selectMinutes
	if req.Hours {
		query = selectHours
		since = since.Add(time.Hour - time.Microsecond).Truncate(time.Hour) // whole hours
	}
	err = b.read(ctx, func(q queryer) error {
		all = nil
		return scan(ctx, q, b.sql(query), []any{since.UnixMicro()}, func(r *sql.Rows) error {
			a, err := scanActivity(r)
			all = append(all, a)
			return err
		})
	})
	if err != nil {
		return backend.Activities{}, failed(ctx, "activity", err)
	}
	merge := lifecycle.MergeActivity
	if req.Hours {
		merge = lifecycle.ActivityByHour
	}
	return backend.Activities{Activities: merge(all), Now: now}, nil
}
