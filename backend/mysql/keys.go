package mysql

import (
	"cmp"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

// A nameKey is a unique or serial key with the name that it belongs to.
type nameKey struct{ name, key string }

// sortedKeys returns the keys of a map in order. All transactions lock keys in this order.
func sortedKeys[V any](m map[nameKey]V) []nameKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b nameKey) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key)) })
}

const (
	// takeKeys acquires keys that are free, or that their own jobs have kept. It waits for a
	// key that another transaction is changing. It also locks the keys that it does not
	// acquire, so that their holders are committed and stay. The parameters are the clock.
	takeKeys     = `INSERT INTO plainjobs_unique_key (name, key_text, job, until_at, held) VALUES `
	takeKeysTail = ` ON DUPLICATE KEY UPDATE
		job = IF(job = VALUES(job) OR held = 0 AND until_at <= ?, VALUES(job), job),
		until_at = IF(job = VALUES(job) AND held = 0 AND until_at <= ?, VALUES(until_at), until_at),
		held = IF(job = VALUES(job), 1, held)`

	// keepKeysTail stores the keys that no other job holds.
	keepKeysTail = ` ON DUPLICATE KEY UPDATE
		job = IF(held = 0 AND until_at <= ?, VALUES(job), job),
		until_at = IF(job = VALUES(job) AND held = 0, VALUES(until_at), until_at)`

	deleteKept = `DELETE FROM plainjobs_unique_key WHERE held = 0 AND until_at <= ? ORDER BY until_at LIMIT ?`
)

var (
	joinKeys = join("name*", "key_text*", "job", "free") +
		` plainjobs_unique_key k FORCE INDEX (PRIMARY) ON k.name = UNHEX(v.name) AND k.key_text = UNHEX(v.key_text)`

	selectKeys = `SELECT k.name, k.key_text, k.job, k.held, k.until_at FROM ` + joinKeys
	lockKeys   = selectKeys + ` FOR UPDATE`
	deleteKeys = `DELETE k FROM ` + joinKeys + ` WHERE k.job = v.job`

	// releaseKeys gives back keys that their jobs keep for a time.
	releaseKeys = `UPDATE ` + joinKeys + ` SET k.held = 0 WHERE k.job = v.job`
)

// selectStored returns those of the jobs that are stored.
var selectStored = `SELECT j.id FROM ` + joinJobs

// A claimant is a job that wants a unique key, with the time until which it keeps the key at
// least.
type claimant struct{ job, until int64 }

// A heldKey is a row of a unique key.
type heldKey struct {
	nameKey
	job, until int64
	held       bool
}

// taken reports whether a new job cannot have the key.
func (k *heldKey) taken(now int64) bool { return k.held || k.until > now }

// keys returns the rows of unique keys that a query finds.
func (t *tx) keys(query string, keys values) (all []heldKey, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	err = t.each(query, []any{keys}, func(r *sql.Rows) error {
		var k heldKey
		err := r.Scan(&k.name, &k.key, &k.job, &k.held, &k.until)
		all = append(all, k)
		return err
	})
	return all, err
}

// acquireUnique acquires unique keys for jobs. It returns, by key, the holders of the keys that
// it could not acquire.
func (t *tx) acquireUnique(wanted map[nameKey]claimant, now int64) (holders map[nameKey]int64, err error) {
	holders, err = t.acquireFree(wanted, now)
	if err != nil || len(holders) == 0 {
		return nil, err
	}
	// Jobs may have been deleted outside the store.
	ids := slices.Collect(maps.Values(holders))
	query := selectStored
	if t.caller {
		query += ` LOCK IN SHARE MODE`
	}
	stored, err := t.ids(query, valuesOf(ids))
	if err != nil {
		return nil, err
	}
	lost := map[nameKey]claimant{}
	var keys values
	for k, id := range holders {
		if !slices.Contains(stored, id) {
			lost[k] = wanted[k]
			keys.add(k.name, k.key, id, 0)
			delete(holders, k)
		}
	}
	if len(lost) == 0 {
		return holders, nil
	}
	if err := t.later(deleteKeys, keys); err != nil {
		return nil, err
	}
	again, err := t.acquireFree(lost, now)
	maps.Copy(holders, again)
	return holders, err
}

// acquireFree acquires the keys that are free. It locks the others and returns their holders.
func (t *tx) acquireFree(wanted map[nameKey]claimant, now int64) (holders map[nameKey]int64, err error) {
	rows := insert{head: takeKeys, tail: takeKeysTail, tailArgs: []any{now, now}}
	var keys values
	for _, k := range sortedKeys(wanted) {
		if err := rows.add(t, k.name, k.key, wanted[k].job, wanted[k].until, true); err != nil {
			return nil, err
		}
		keys.add(k.name, k.key, 0, 0)
	}
	if err := rows.flush(t); err != nil {
		return nil, err
	}
	all, err := t.keys(lockKeys, keys)
	holders = map[nameKey]int64{}
	for _, k := range all {
		if k.job != wanted[k.nameKey].job {
			holders[k.nameKey] = k.job
		}
	}
	if err == nil && len(all) != len(wanted) {
		err = rejected{fmt.Errorf("%w: a unique key that was stored has no row", backend.ErrCorrupt)}
	}
	return holders, err
}

// holders returns the jobs that hold unique keys, by key.
func (t *tx) holders(list []nameKey, now int64) (map[nameKey]int64, error) {
	var keys values
	for _, k := range list {
		keys.add(k.name, k.key, 0, 0)
	}
	query := selectKeys
	if t.caller {
		query += ` LOCK IN SHARE MODE`
	}
	all, err := t.keys(query, keys)
	holders := make(map[nameKey]int64, len(all))
	for _, k := range all {
		if k.taken(now) {
			holders[k.nameKey] = k.job
		}
	}
	return holders, err
}

// reacquireUnique reacquires, for jobs that are to wait again, the keys that they released when
// they were claimed. Waiting holders that were pushed earlier are cancelled. It returns the
// jobs that hold the other keys, by the jobs that wanted them.
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

// supersede cancels waiting holders of keys that were pushed before the jobs that want the
// keys.
func (t *tx) supersede(holders map[nameKey]int64, by map[nameKey]*row, now int64) error {
	var keys values
	winner := map[int64]int64{}
	for k, id := range holders {
		if id < by[k].id {
			keys.add(k.name, k.key, 0, 0)
			winner[id] = by[k].id
		}
	}
	all, err := t.keys(lockKeys, keys)
	if err != nil {
		return err
	}
	var ids []int64
	for _, k := range all {
		if k.until <= now {
			ids = append(ids, k.job)
		}
	}
	losers, err := t.lock(ids)
	if err == nil {
		err = t.own(slices.Collect(maps.Values(losers)))
	}
	if err != nil {
		return err
	}
	var cancelled []*row
	for _, id := range sqlstore.Sorted(losers) {
		if r := losers[id]; r.State.Waits() {
			r.become(r.Supersede(winner[id], now))
			cancelled = append(cancelled, r)
		}
	}
	return t.write(cancelled)
}

// releaseUnique releases the unique keys of jobs that have ended or are deleted. Done and failed
// jobs keep theirs until the stored time.
func (t *tx) releaseUnique(rows []*row, now int64) error {
	wanted, free := map[nameKey]int64{}, map[int64]bool{}
	for _, r := range rows {
		if r.flags&flagUnique != 0 {
			wanted[nameKey{r.name, r.unique}] = r.id
			free[r.id] = r.State == backend.Cancelled || r.deleted
		}
	}
	// Several jobs may have the key; at most one of them holds it.
	all, err := t.keys(lockKeys, keyValues(wanted))
	if err != nil {
		return err
	}
	var gone, kept values
	for _, k := range all {
		if ours, ok := free[k.job]; !ok {
			continue
		} else if ours || k.until <= now {
			gone.add(k.name, k.key, k.job, 0)
		} else if k.held {
			kept.add(k.name, k.key, k.job, 0)
		}
	}
	if len(gone) > 0 {
		if err := t.later(deleteKeys, gone); err != nil {
			return err
		}
	}
	if len(kept) > 0 {
		err = t.later(releaseKeys, kept)
	}
	return err
}

// keyValues returns keys, in order, as the rows of joinKeys.
func keyValues(keys map[nameKey]int64) (v values) {
	for _, k := range sortedKeys(keys) {
		v.add(k.name, k.key, keys[k], 0)
	}
	return v
}

// keysOf returns the unique keys of jobs that have one.
func keysOf(rows []*row) map[nameKey]int64 {
	keys := map[nameKey]int64{}
	for _, r := range rows {
		if r.flags&flagUnique != 0 {
			keys[nameKey{r.name, r.unique}] = r.id
		}
	}
	return keys
}

// keptKeys reports, by ID, which jobs keep their unique keys.
func (t *tx) keptKeys(rows []*row, now int64) (map[int64]bool, error) {
	kept := map[int64]bool{}
	query := selectKeys
	if t.caller {
		query += ` LOCK IN SHARE MODE`
	}
	all, err := t.keys(query, keyValues(keysOf(rows)))
	for _, k := range all {
		kept[k.job] = k.until > now
	}
	return kept, err
}

// freeKept frees the unique keys that jobs keep for a time, and returns the jobs. A waiting job
// holds its key.
func (t *tx) freeKept(rows []*row, now int64) (map[int64]bool, error) {
	freed := map[int64]bool{}
	ours := map[int64]bool{}
	for _, r := range rows {
		ours[r.id] = true
	}
	all, err := t.keys(lockKeys, keyValues(keysOf(rows)))
	if err != nil {
		return nil, err
	}
	var gone values
	for _, k := range all {
		if ours[k.job] && !k.held && k.until > now {
			freed[k.job] = true
			gone.add(k.name, k.key, k.job, 0)
		}
	}
	if len(gone) > 0 {
		err = t.later(deleteKeys, gone)
	}
	return freed, err
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
