package postgres

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A nameKey is a unique or serial key with the name that it belongs to.
type nameKey struct{ name, key string }

// columns returns the texts of the arrays of names and of keys.
func columns(keys []nameKey) (names, values string) {
	n, v := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		n[i], v[i] = k.name, k.key
	}
	return textArray(n), textArray(v)
}

const (
	// takeKeys acquires keys that are free, or that their own jobs have kept. It
	// waits for a key that another transaction is changing. It also locks the keys
	// that it does not acquire, so that their holders are committed and stay.
	takeKeys = `
		INSERT INTO plainjobs.unique_key AS k (name, key, job, until, held)
		SELECT v.name, v.key, v.job, v.until, true
		FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::bigint[]) AS v(name, key, job, until)
		ORDER BY v.name COLLATE "C", v.key COLLATE "C"
		ON CONFLICT (name, key) DO UPDATE SET held = true, job = excluded.job,
			until = CASE k.job WHEN excluded.job THEN k.until ELSE excluded.until END
		WHERE k.job = excluded.job OR NOT k.held AND k.until <= $5::bigint
		RETURNING name, key`

	selectHolders = `
		SELECT k.name, k.key, k.job FROM unnest($1::text::text[], $2::text::text[]) AS v(name, key)
		JOIN plainjobs.unique_key k ON k.name = v.name AND k.key = v.key
		WHERE k.held OR k.until > $3::bigint`

	// freeLost deletes keys whose jobs were deleted outside the store.
	freeLost = `
		DELETE FROM plainjobs.unique_key k USING unnest($1::text::text[], $2::text::text[]) AS v(name, key)
		WHERE k.name = v.name AND k.key = v.key AND NOT EXISTS (SELECT 1 FROM plainjobs.job j WHERE j.id = k.job)
		RETURNING k.name, k.key`

	// giveKeys releases keys; the jobs marked in $5 do not keep theirs for a time.
	giveKeys = `
		WITH v AS MATERIALIZED (
			SELECT k.name, k.key, k.until > $4::bigint AND NOT v.free AS keeps
			FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $5::text::boolean[]) AS v(name, key, job, free)
			JOIN plainjobs.unique_key k ON k.name = v.name AND k.key = v.key AND k.job = v.job
			ORDER BY k.name, k.key FOR UPDATE OF k),
		gone AS (DELETE FROM plainjobs.unique_key k USING v WHERE NOT v.keeps AND k.name = v.name AND k.key = v.key)
		UPDATE plainjobs.unique_key k SET held = false FROM v WHERE v.keeps AND k.name = v.name AND k.key = v.key`

	// freeKept frees the keys kept by jobs that have started or ended; a waiting job
	// holds its key.
	freeKept = `
		DELETE FROM plainjobs.unique_key k USING unnest($1::text::text[], $2::text::text[], $3::text::bigint[]) AS v(name, key, job)
		WHERE k.name = v.name AND k.key = v.key AND k.job = v.job AND NOT k.held AND k.until > $4::bigint
		RETURNING k.job`

	selectKept = `
		SELECT k.job FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[]) AS v(name, key, job)
		JOIN plainjobs.unique_key k ON k.name = v.name AND k.key = v.key AND k.job = v.job WHERE k.until > $4::bigint`

	deleteKept = `
		DELETE FROM plainjobs.unique_key k USING (
			SELECT name, key FROM plainjobs.unique_key WHERE NOT held AND until <= $1::bigint LIMIT $2::bigint FOR UPDATE SKIP LOCKED) gone
		WHERE k.name = gone.name AND k.key = gone.key`
)

// A claimant is a job that wants a unique key, with the time until which it keeps
// the key at least.
type claimant struct{ job, until int64 }

// acquireUnique acquires unique keys for jobs. It returns, by key, the holders of the keys
// that it could not acquire.
func (t *tx) acquireUnique(wanted map[nameKey]claimant, now int64) (holders map[nameKey]int64, err error) {
	others, err := t.acquireFree(wanted, now)
	if err != nil || len(others) == 0 {
		return nil, err
	}
	// The keys are locked and their holders committed, so that a new statement sees
	// the holders.
	lost := map[nameKey]claimant{}
	names, values := columns(others)
	err = t.each(freeLost, []any{names, values}, func(r *sql.Rows) error {
		var k nameKey
		err := r.Scan(&k.name, &k.key)
		lost[k] = wanted[k]
		return err
	})
	if err == nil && len(lost) > 0 {
		others = slices.DeleteFunc(others, func(k nameKey) bool { _, ok := lost[k]; return ok })
		var again []nameKey
		again, err = t.acquireFree(lost, now)
		others = append(others, again...)
	}
	if err != nil || len(others) == 0 {
		return nil, err
	}
	if holders, err = t.holders(others, now); err != nil {
		return nil, err
	}
	if len(holders) != len(others) {
		return nil, fmt.Errorf("%w: a unique key is held but has no row", backend.ErrCorrupt)
	}
	return holders, nil
}

// acquireFree acquires the keys that are free. It locks and returns the others.
func (t *tx) acquireFree(wanted map[nameKey]claimant, now int64) (others []nameKey, err error) {
	keys := make([]nameKey, 0, len(wanted))
	jobs, untils := make([]int64, 0, len(wanted)), make([]int64, 0, len(wanted))
	for k, c := range wanted {
		keys, jobs, untils = append(keys, k), append(jobs, c.job), append(untils, c.until)
	}
	taken := make(map[nameKey]bool, len(keys))
	names, values := columns(keys)
	err = t.each(takeKeys, []any{names, values, intArray(jobs), intArray(untils), now}, func(r *sql.Rows) error {
		var k nameKey
		err := r.Scan(&k.name, &k.key)
		taken[k] = true
		return err
	})
	if err != nil || len(taken) == len(keys) {
		return nil, err
	}
	for _, k := range keys {
		if !taken[k] {
			others = append(others, k)
		}
	}
	return others, nil
}

// holders returns the jobs that hold unique keys, by key.
func (t *tx) holders(keys []nameKey, now int64) (map[nameKey]int64, error) {
	holders := make(map[nameKey]int64, len(keys))
	names, values := columns(keys)
	err := t.each(selectHolders, []any{names, values, now}, func(r *sql.Rows) error {
		var k nameKey
		var job int64
		err := r.Scan(&k.name, &k.key, &job)
		holders[k] = job
		return err
	})
	return holders, err
}

// Of the holders of keys, those that may lose them.
const selectLosers = `
	SELECT k.job FROM unnest($1::text::text[], $2::text::text[]) AS v(name, key)
	JOIN plainjobs.unique_key k ON k.name = v.name AND k.key = v.key WHERE k.until <= $3::bigint`

// reacquireUnique reacquires, for jobs that are to wait again, the keys that they released
// when they were claimed. Waiting holders that were pushed earlier are cancelled.
// It returns the jobs that hold the other keys, by the jobs that wanted them.
func (t *tx) reacquireUnique(rows []*row, now int64) (others map[*row]int64, err error) {
	last := map[nameKey]*row{} // the last of the jobs that ran with one key
	for _, r := range rows {
		if k := (nameKey{r.name, r.unique}); r.flags&flagUntilStarted != 0 && (last[k] == nil || last[k].id < r.id) {
			last[k] = r
		}
	}
	if len(last) == 0 {
		return nil, nil
	}
	wanted := make(map[nameKey]claimant, len(last))
	for k, r := range last {
		wanted[k] = claimant{job: r.id}
	}
	holders, err := t.acquireUnique(wanted, now)
	if err != nil {
		return nil, err
	}
	if len(holders) > 0 {
		if err := t.supersede(holders, last, now); err != nil {
			return nil, err
		}
		for k := range wanted {
			if holders[k] == 0 {
				delete(wanted, k)
			}
		}
		if holders, err = t.acquireUnique(wanted, now); err != nil {
			return nil, err
		}
	}
	others = map[*row]int64{}
	for _, r := range rows {
		k := nameKey{r.name, r.unique}
		switch first := last[k]; {
		case r.flags&flagUntilStarted == 0:
		case holders[k] != 0:
			others[r] = holders[k]
		case r != first:
			others[r] = first.id
		}
	}
	return others, nil
}

// supersede cancels waiting holders of keys that were pushed before the jobs that
// want the keys.
func (t *tx) supersede(holders map[nameKey]int64, by map[nameKey]*row, now int64) error {
	var keys []nameKey
	winner := map[int64]int64{}
	for k, id := range holders {
		if id < by[k].id {
			keys, winner[id] = append(keys, k), by[k].id
		}
	}
	if len(keys) == 0 {
		return nil
	}
	names, values := columns(keys)
	var ids []int64
	err := t.each(selectLosers, []any{names, values, now}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	losers, err := t.lock(ids)
	if err == nil {
		err = t.own(slices.Collect(maps.Values(losers)))
	}
	if err != nil {
		return err
	}
	var ended []*row
	for id, r := range losers {
		if r.State.Waits() {
			r.become(r.Supersede(winner[id], now))
			ended = append(ended, r)
		}
	}
	return t.write(ended)
}

// releaseUnique releases the unique keys of jobs that have ended or are deleted. Done and
// failed jobs keep theirs until the stored time.
func (t *tx) releaseUnique(rows []*row, now int64) error {
	keys, jobs, free := uniqueOf(rows)
	if len(keys) == 0 {
		return nil
	}
	names, values := columns(keys)
	_, err := t.exec(giveKeys, names, values, intArray(jobs), now, boolArray(free))
	return err
}

// uniqueOf returns the unique keys of jobs that have one, the jobs, and whether
// each job's state keeps no key.
func uniqueOf(rows []*row) (keys []nameKey, jobs []int64, free []bool) {
	for _, r := range rows {
		if r.flags&flagUnique != 0 {
			keys, jobs = append(keys, nameKey{r.name, r.unique}), append(jobs, r.id)
			free = append(free, r.State == backend.Cancelled || r.deleted)
		}
	}
	return keys, jobs, free
}

// keptKeys reports, by ID, which jobs keep their unique keys.
func (t *tx) keptKeys(rows []*row, now int64) (map[int64]bool, error) {
	keys, jobs, _ := uniqueOf(rows)
	return t.jobsOf(selectKept, keys, jobs, now)
}

// freeKept frees the unique keys that jobs keep for a time, and returns the jobs.
func (t *tx) freeKept(rows []*row, now int64) (map[int64]bool, error) {
	keys, jobs, _ := uniqueOf(rows)
	return t.jobsOf(freeKept, keys, jobs, now)
}

func (t *tx) jobsOf(query string, keys []nameKey, jobs []int64, now int64) (map[int64]bool, error) {
	found := map[int64]bool{}
	if len(keys) == 0 {
		return found, nil
	}
	names, values := columns(keys)
	err := t.each(query, []any{names, values, intArray(jobs), now}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		found[id] = true
		return err
	})
	return found, err
}

// ended releases the keys of jobs that have ended or are deleted.
func (t *tx) ended(rows []*row, now int64) error {
	var held []*row
	for _, r := range rows {
		if r.flags&flagsAtEnd != 0 {
			held = append(held, r)
		}
	}
	if len(held) == 0 {
		return nil
	}
	if err := t.releaseUnique(held, now); err != nil {
		return err
	}
	return t.advance(held, now)
}
