package mysql

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	// Without a change it locks a head's row, so that no head ends before the jobs pushed
	// behind it are visible.
	insertHeads     = `INSERT INTO plainjobs_serial_head (name, key_text, job) VALUES `
	insertHeadsTail = ` ON DUPLICATE KEY UPDATE job = job`
)

var (
	joinHeads = join("name*", "key_text*", "job") +
		` plainjobs_serial_head s FORCE INDEX (PRIMARY) ON s.name = UNHEX(v.name) AND s.key_text = UNHEX(v.key_text)`

	// The keys are locked, so a locking read finds what is stored now.
	selectHeads = `SELECT s.name, s.key_text, s.job FROM ` + joinHeads + ` FOR UPDATE`
	lockHeads   = `SELECT s.name, s.key_text, s.job FROM ` + joinHeads + ` WHERE s.job = v.job FOR UPDATE`
	updateHeads = `UPDATE ` + joinHeads + ` SET s.job = v.job`
	deleteHeads = `DELETE s FROM ` + joinHeads
)

// selectNext returns the blocked job of a key with the lowest ID.
const selectNext = `
	SELECT job FROM plainjobs_blocked FORCE INDEX (PRIMARY) WHERE name = ? AND key_text = ? ORDER BY job LIMIT 1`

const deleteBlocked = `DELETE FROM plainjobs_blocked WHERE name = ? AND key_text = ? AND job = ?`

// queueUp makes each job the head of its serial key, unless the key has another head. It
// returns the keys that have.
func (t *tx) queueUp(heads map[nameKey]int64) (blocked map[nameKey]bool, err error) {
	if len(heads) == 0 {
		return nil, nil
	}
	rows := insert{head: insertHeads, tail: insertHeadsTail}
	var keys values
	blocked = map[nameKey]bool{}
	for _, k := range sortedKeys(heads) {
		if err := rows.add(t, k.name, k.key, heads[k]); err != nil {
			return nil, err
		}
		keys.add(k.name, k.key, heads[k])
		blocked[k] = true
	}
	if err := rows.flush(t); err != nil {
		return nil, err
	}
	err = t.each(selectHeads, []any{keys}, func(r *sql.Rows) error {
		var k nameKey
		var job int64
		err := r.Scan(&k.name, &k.key, &job)
		if heads[k] == job {
			delete(blocked, k)
		}
		return err
	})
	return blocked, err
}

// advance removes jobs as heads of their serial keys, and makes the next jobs the heads. A job
// that was blocked is no head, and cannot become one while it is locked.
func (t *tx) advance(rows []*row, now int64) error {
	ended := map[nameKey]int64{}
	for _, r := range rows {
		if r.flags&flagSerial != 0 && r.was.State != backend.Blocked {
			ended[nameKey{r.name, r.serial}] = r.id
		}
	}
	if len(ended) == 0 {
		return nil
	}
	var keys, gone, moved values
	for _, k := range sortedKeys(ended) {
		keys.add(k.name, k.key, ended[k])
	}
	var held []nameKey
	err := t.each(lockHeads, []any{keys}, func(r *sql.Rows) error {
		var k nameKey
		err := r.Scan(&k.name, &k.key, new(int64))
		held = append(held, k)
		return err
	})
	if err != nil {
		return err
	}
	var unblocked []*row
	for _, k := range held {
		next, err := t.nextBlocked(k)
		if err != nil {
			return err
		}
		if next == nil {
			gone.add(k.name, k.key, 0)
			continue
		}
		moved.add(k.name, k.key, next.id)
		next.Job = next.Ready(now)
		unblocked = append(unblocked, next)
	}
	if len(gone) > 0 {
		if err := t.later(deleteHeads, gone); err != nil {
			return err
		}
	}
	if len(moved) > 0 {
		if err := t.later(updateHeads, moved); err != nil {
			return err
		}
	}
	return t.update(unblocked)
}

// nextBlocked returns the blocked job of a key with the lowest ID, locked, or nil. Another
// transaction may be ending the job that is found first.
func (t *tx) nextBlocked(k nameKey) (*row, error) {
	query := selectNext
	if t.caller {
		query += ` LOCK IN SHARE MODE`
	}
	for {
		ids, err := t.ids(query, k.name, k.key)
		if err != nil || len(ids) == 0 {
			return nil, err
		}
		rows, err := t.lock(ids)
		if err != nil {
			return nil, err
		}
		if r := rows[ids[0]]; r != nil && r.State == backend.Blocked {
			return r, nil
		}
		// The transaction that changed the job has deleted this row, unless a statement outside
		// the store changed the job.
		if err := t.later(deleteBlocked, k.name, k.key, ids[0]); err != nil {
			return nil, err
		}
	}
}
