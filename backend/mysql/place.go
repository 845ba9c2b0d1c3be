package mysql

import (
	"cmp"

	"github.com/plainjobs/plainjobs/backend"
)

// The places of jobs are rows of small tables, one for each way in which the store searches
// jobs by anything but their ID. Both engines have no index of a part of a table, and an index
// of all jobs would change with each claim.

// A place is a table of places.
type place int

const (
	scheduled place = iota
	blocked
	expiring
	finished
	ended
	places
)

// Of each table, the statement that inserts rows, and the one that deletes rows.
var (
	insertPlaces = [places]string{
		scheduled: `INSERT IGNORE INTO plainjobs_scheduled (run_at, job) VALUES `,
		blocked:   `INSERT IGNORE INTO plainjobs_blocked (name, key_text, job) VALUES `,
		expiring:  `INSERT IGNORE INTO plainjobs_expiring (expires_at, job) VALUES `,
		finished:  `INSERT IGNORE INTO plainjobs_finished (name, state, finished_at, job) VALUES `,
		ended:     `INSERT IGNORE INTO plainjobs_ended (state, job) VALUES `,
	}
	deletePlaces = [places]string{
		scheduled: `DELETE p FROM ` + join("run_at", "job") + ` plainjobs_scheduled p FORCE INDEX (PRIMARY) ON p.run_at = v.run_at AND p.job = v.job`,
		blocked: `DELETE p FROM ` + join("name*", "key_text*", "job") + ` plainjobs_blocked p FORCE INDEX (PRIMARY)
			ON p.name = UNHEX(v.name) AND p.key_text = UNHEX(v.key_text) AND p.job = v.job`,
		expiring: `DELETE p FROM ` + join("expires_at", "job") + ` plainjobs_expiring p FORCE INDEX (PRIMARY) ON p.expires_at = v.expires_at AND p.job = v.job`,
		finished: `DELETE p FROM ` + join("name*", "state", "finished_at", "job") + ` plainjobs_finished p FORCE INDEX (PRIMARY)
			ON p.name = UNHEX(v.name) AND p.state = v.state AND p.finished_at = v.finished_at AND p.job = v.job`,
		ended: `DELETE p FROM ` + join("state", "job") + ` plainjobs_ended p FORCE INDEX (PRIMARY) ON p.state = v.state AND p.job = v.job`,
	}
)

// A placeChange is the places that jobs leave and take.
type placeChange struct {
	left  [places]values
	taken [places][][]any
}

// behindKey is the key of the place of a job that waits behind a gate. No serial key has a NUL.
const behindKey = "\x00"

// of returns the row that a job has in a table, or nil.
func (p place) of(r *row, state backend.State, flags flag, runAt, expiresAt, finishedAt int64) []any {
	switch {
	case p == scheduled && state == backend.Scheduled:
		return []any{runAt, r.id}
	case p == blocked && state == backend.Blocked && flags&flagBehind != 0:
		return []any{r.name, behindKey, r.id}
	case p == blocked && state == backend.Blocked:
		return []any{r.name, r.serial, r.id}
	case p == expiring && state.Waits() && expiresAt != 0:
		return []any{expiresAt, r.id}
	case p == finished && state.Terminal():
		return []any{r.name, int64(state), cmp.Or(finishedAt, r.createdAt), r.id}
	case p == ended && state.Terminal() && state != backend.Done:
		return []any{int64(state), r.id}
	}
	return nil
}

// add takes the places of a new job.
func (c *placeChange) add(r *row) {
	for p := range places {
		if row := p.of(r, r.State, r.flags, r.RunAt, r.ExpiresAt, r.FinishedAt); row != nil {
			c.taken[p] = append(c.taken[p], row)
		}
	}
}

// remove leaves the places of a job as it was read.
func (c *placeChange) remove(r *row) {
	for p := range places {
		if row := p.of(r, r.was.State, r.had, r.was.RunAt, r.was.ExpiresAt, r.was.FinishedAt); row != nil {
			c.left[p].add(row...)
		}
	}
}

// move moves a job from its places as it was read to those as it is now.
func (c *placeChange) move(r *row) {
	for p := range places {
		from := p.of(r, r.was.State, r.had, r.was.RunAt, r.was.ExpiresAt, r.was.FinishedAt)
		to := p.of(r, r.State, r.flags, r.RunAt, r.ExpiresAt, r.FinishedAt)
		if from == nil && to == nil || from != nil && to != nil && equal(from, to) {
			continue
		}
		if from != nil {
			c.left[p].add(from...)
		}
		if to != nil {
			c.taken[p] = append(c.taken[p], to)
		}
	}
}

func equal(a, b []any) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// store stores the changes.
func (c *placeChange) store(t *tx) error {
	for p := range places {
		if len(c.left[p]) > 0 {
			if err := t.later(deletePlaces[p], c.left[p]); err != nil {
				return err
			}
		}
		rows := insert{head: insertPlaces[p]}
		for _, row := range c.taken[p] {
			if err := rows.add(t, row...); err != nil {
				return err
			}
		}
		if err := rows.flush(t); err != nil {
			return err
		}
	}
	return nil
}
