package postgres

import (
	"context"
	"database/sql"
	"encoding/hex"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	activityColumns = `at, name, done, retried, failed, cancelled, waited, ran`
	activityArrays  = `
		unnest($1::text::bigint[], $2::text::text[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[], $7::text::text[], $8::text::text[])
		AS v(at, name, done, retried, failed, cancelled, waited, ran)`
	activityValues   = `v.at, v.name, v.done, v.retried, v.failed, v.cancelled, decode(v.waited, 'hex'), decode(v.ran, 'hex')`
	activityReplaced = ` DO UPDATE SET done = excluded.done, retried = excluded.retried, failed = excluded.failed, cancelled = excluded.cancelled,
		waited = excluded.waited, ran = excluded.ran`

	upsertMinutes = `
		INSERT INTO plainjobs.activity_minute (` + activityColumns + `, worker) SELECT ` + activityValues + `, $9::bigint FROM ` + activityArrays + `
		ON CONFLICT (at, name, worker)` + activityReplaced
	upsertHours = `
		INSERT INTO plainjobs.activity_hour (` + activityColumns + `) SELECT ` + activityValues + ` FROM ` + activityArrays + `
		ON CONFLICT (at, name)` + activityReplaced

	selectMinutes = `SELECT ` + activityColumns + ` FROM plainjobs.activity_minute WHERE at >= $1::bigint`
	selectHours   = `SELECT ` + activityColumns + ` FROM plainjobs.activity_hour WHERE at >= $1::bigint UNION ALL ` + selectMinutes

	// One process at a time folds, and the others leave it to that one.
	lockFolding   = `SELECT pg_try_advisory_xact_lock(hashtextextended('plainjobs activity ' || $1::text, 0))`
	deleteMinutes = `
		DELETE FROM plainjobs.activity_minute WHERE (at, name, worker) IN (
			SELECT at, name, worker FROM plainjobs.activity_minute WHERE at < $1::bigint ORDER BY at, name, worker LIMIT $2::bigint)
		RETURNING ` + activityColumns
	selectHoursOf = `
		SELECT ` + activityColumns + ` FROM plainjobs.activity_hour
		WHERE (at, name) IN (SELECT * FROM unnest($1::text::bigint[], $2::text::text[]))`
	deleteHours = `DELETE FROM plainjobs.activity_hour WHERE at < $1::bigint`
)

func scanActivity(r *sql.Rows, all *[]backend.Activity) error {
	var a backend.Activity
	var at int64
	err := r.Scan(&at, &a.Name, &a.Done, &a.Retried, &a.Failed, &a.Cancelled, &a.Waited, &a.Ran)
	a.At = instant(at)
	*all = append(*all, a)
	return err
}

// activityArgs returns the arguments of activityArrays.
func activityArgs(all []backend.Activity) []any {
	at, counts := make([]int64, len(all)), [4][]int64{}
	names, waited, ran := make([]string, len(all)), make([]string, len(all)), make([]string, len(all))
	for i, a := range all {
		at[i], names[i] = a.At.UnixMicro(), a.Name
		for c, n := range [4]int64{a.Done, a.Retried, a.Failed, a.Cancelled} {
			counts[c] = append(counts[c], n)
		}
		waited[i], ran[i] = hex.EncodeToString(a.Waited), hex.EncodeToString(a.Ran)
	}
	return []any{
		intArray(at), textArray(names), intArray(counts[0]), intArray(counts[1]), intArray(counts[2]), intArray(counts[3]), textArray(waited), textArray(ran),
	}
}

// addActivity stores what a worker sent in a heartbeat.
func (t *tx) addActivity(worker int64, sent []backend.Activity, now time.Time) error {
	var taken []backend.Activity
	for _, a := range sent {
		if lifecycle.TakesActivity(a.At, now) {
			taken = append(taken, a)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	_, err := t.exec(upsertMinutes, append(activityArgs(taken), worker)...)
	return err
}

// foldActivity merges at most limit old minutes by the hour and deletes old hours, once
// for each hour and process. It reports whether there may be more.
func (t *tx) foldActivity(micros int64, limit int) (more bool, err error) {
	now := instant(micros)
	first := lifecycle.OldestMinute(now)
	if t.b.folded.Load() == first.Unix() {
		return false, nil
	}
	free := false
	err = t.each(lockFolding, []any{t.b.opts.Schema}, func(r *sql.Rows) error { return r.Scan(&free) })
	if err != nil || !free {
		return false, err
	}
	var old []backend.Activity
	collect := func(r *sql.Rows) error { return scanActivity(r, &old) }
	if err := t.each(deleteMinutes, []any{first.UnixMicro(), limit}, collect); err != nil {
		return false, err
	}
	if more = len(old) == limit; len(old) > 0 {
		args := activityArgs(lifecycle.ActivityByHour(old))
		if err := t.each(selectHoursOf, args[:2], collect); err != nil {
			return false, err
		}
		if _, err := t.exec(upsertHours, activityArgs(lifecycle.ActivityByHour(old))...); err != nil {
			return false, err
		}
	}
	if _, err := t.exec(deleteHours, now.Add(-backend.KeepHours).Truncate(time.Hour).UnixMicro()); err != nil {
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
	err := b.read(ctx, "activity", func(q querier) error {
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
		if req.Hours {
			query, since = selectHours, since.Add(time.Hour-time.Microsecond).Truncate(time.Hour) // whole hours
		}
		return b.scan(ctx, q, query, []any{since.UnixMicro()}, func(r *sql.Rows) error { return scanActivity(r, &all) })
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
