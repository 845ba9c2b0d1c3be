package postgres

import (
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// queueUp makes jobs the heads of keys that have none. For the other keys it
	// locks the heads' rows, so that no head ends before the jobs pushed behind it
	// are visible.
	queueUp = `
		INSERT INTO plainjobs.serial_head AS s (name, key, job)
		SELECT v.name, v.key, v.job FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[]) AS v(name, key, job)
		ORDER BY v.name COLLATE "C", v.key COLLATE "C"
		ON CONFLICT (name, key) DO UPDATE SET job = s.job WHERE s.job = excluded.job
		RETURNING name, key`

	lockHeads = `
		SELECT s.name, s.key FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[]) AS v(name, key, job)
		JOIN plainjobs.serial_head s ON s.name = v.name AND s.key = v.key AND s.job = v.job
		ORDER BY s.name, s.key FOR UPDATE OF s`

	// If another transaction is ending a blocked job, the query waits and then
	// skips it.
	selectNext = `
		SELECT v.name, v.key, coalesce(n.id, 0), coalesce(n.run_at, 0), coalesce(n.flags, 0), coalesce(n.priority, 0)
		FROM unnest($1::text::text[], $2::text::text[]) AS v(name, key)
		LEFT JOIN LATERAL (
			SELECT j.id, j.run_at, j.flags, j.priority FROM plainjobs.job j WHERE j.state = 2 AND j.flags & 1024 = 0 AND j.name = v.name AND j.serial_key = v.key
			ORDER BY j.id LIMIT 1 FOR UPDATE) n ON true`

	advanceHeads = `
		WITH v AS MATERIALIZED (
			SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::smallint[], $5::text::bigint[]) AS v(name, key, job, state, run_at)),
		gone AS (DELETE FROM plainjobs.serial_head s USING v WHERE v.job = 0 AND s.name = v.name AND s.key = v.key),
		next AS (UPDATE plainjobs.serial_head s SET job = v.job FROM v WHERE v.job <> 0 AND s.name = v.name AND s.key = v.key),
		added AS (UPDATE plainjobs.job j SET state = v.state, run_at = v.run_at FROM v WHERE v.job <> 0 AND j.id = v.job RETURNING ` + addedColumns + `)` + insertSpans
)

// queueUp makes each job the head of its serial key, unless the key has another
// head. It returns the keys that have.
func (t *tx) queueUp(heads map[nameKey]int64) (blocked map[nameKey]bool, err error) {
	if len(heads) == 0 {
		return nil, nil
	}
	var keys []nameKey
	var jobs []int64
	blocked = make(map[nameKey]bool, len(heads))
	for k, job := range heads {
		keys, jobs = append(keys, k), append(jobs, job)
		blocked[k] = true
	}
	names, values := columns(keys)
	err = t.each(queueUp, []any{names, values, intArray(jobs)}, func(r *sql.Rows) error {
		var k nameKey
		err := r.Scan(&k.name, &k.key)
		delete(blocked, k)
		return err
	})
	return blocked, err
}

// advance removes jobs as heads of their serial keys, and makes the next jobs the
// heads. A job that was blocked is no head, and cannot become one while it is
// locked.
func (t *tx) advance(rows []*row, now int64) error {
	var keys []nameKey
	var jobs []int64
	for _, r := range rows {
		if r.flags&flagSerial != 0 && r.was != backend.Blocked {
			keys, jobs = append(keys, nameKey{r.name, r.serial}), append(jobs, r.id)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	names, values := columns(keys)
	keys = keys[:0]
	err := t.each(lockHeads, []any{names, values, intArray(jobs)}, func(r *sql.Rows) error {
		var k nameKey
		err := r.Scan(&k.name, &k.key)
		keys = append(keys, k)
		return err
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	// A new statement sees the jobs that were pushed while waiting for the lock.
	names, values = columns(keys)
	keys = keys[:0]
	var next, runAts []int64
	var states []backend.State
	var fair []*row
	err = t.each(selectNext, []any{names, values}, func(r *sql.Rows) error {
		var k nameKey
		var id, runAt int64
		var flags flag
		var priority int16
		err := r.Scan(&k.name, &k.key, &id, &runAt, &flags, &priority)
		state := backend.Pending
		if runAt > now {
			state = backend.Scheduled
		}
		if id != 0 {
			t.move(k.name, backend.Blocked, state, 1)
		}
		t.again = true
		keys, next, states, runAts = append(keys, k), append(next, id), append(states, state), append(runAts, runAt)
		if flags&flagFair != 0 {
			fair = append(fair, &row{Job: lifecycle.Job{State: state, RunAt: runAt, Priority: priority}, id: id, name: k.name, flags: flags, was: backend.Blocked})
		}
		return err
	})
	if err == nil {
		err = t.turnRows(fair, now)
	}
	if err != nil {
		return err
	}
	for _, r := range fair {
		runAts[slices.Index(next, r.id)] = r.RunAt
	}
	names, values = columns(keys)
	_, err = t.exec(advanceHeads, names, values, intArray(next), intArray(states), intArray(runAts))
	return err
}
