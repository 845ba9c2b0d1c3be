package mysql

import (
	"cmp"
	"database/sql"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A job with a fair key has a row of job_fair, and its turn is its run_at. So spans and claims
// know nothing of fair keys. Transactions that do not see each other may give the same turn:
// nothing is locked for a key.

const (
	selectFirstPlace = `
		SELECT run_at FROM plainjobs_ready FORCE INDEX (PRIMARY) WHERE name = ? AND suspect = 0 AND prio = ? ORDER BY run_at LIMIT 1`
	selectFairKeys = `SELECT job, key_text FROM plainjobs_job_fair FORCE INDEX (PRIMARY) WHERE job IN (?)`
	insertFair     = `INSERT INTO plainjobs_job_fair (job, turn, nth, priority, name, key_text) VALUES `
)

var (
	// MariaDB has no LATERAL.
	selectLastTurns = `
		SELECT UNHEX(v.name), UNHEX(v.key_text), v.priority, COALESCE(` + lastOf("turn") + `, 0), COALESCE(` + lastOf("nth") + `, 0), COALESCE((
			SELECT w.weight FROM plainjobs_fair_weight w WHERE w.name = UNHEX(v.name) AND w.key_text = UNHEX(v.key_text)), 1)
		FROM ` + strings.TrimSuffix(join("name*", "key_text*", "priority"), " STRAIGHT_JOIN ")

	updateTurns = `
		UPDATE ` + join("job", "turn", "nth", "priority") + ` plainjobs_job_fair f FORCE INDEX (PRIMARY) ON f.job = v.job SET f.turn = v.turn, f.nth = v.nth, f.priority = v.priority`
	updateRunAts = `UPDATE ` + join("id", "run_at") + ` plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = v.id SET j.run_at = v.run_at`
	deleteFair   = `DELETE f FROM ` + join("id") + ` plainjobs_job_fair f FORCE INDEX (PRIMARY) ON f.job = v.id`
)

func lastOf(column string) string {
	return `(SELECT f.` + column + ` FROM plainjobs_job_fair f FORCE INDEX (job_fair_key)
			WHERE f.name = UNHEX(v.name) AND f.key_text = UNHEX(v.key_text) AND f.priority = v.priority ORDER BY f.turn DESC, f.nth DESC LIMIT 1)`
}

// A fairKey is a fair key of a name, among the jobs of one priority.
type fairKey struct {
	nameKey
	priority int16
}

// A fairJob is a job that takes a turn, or that returns with its turn.
type fairJob struct {
	id      int64
	key     fairKey
	returns bool
	turn    lifecycle.Turn
}

// takeTurns sets the turns of jobs, in order.
func (t *tx) takeTurns(jobs []fairJob, now int64) error {
	type place struct {
		name string
		rank int64
	}
	type key struct {
		lifecycle.Turn
		weight int
	}
	if len(jobs) == 0 {
		return nil
	}
	first, last := map[place]int64{}, map[fairKey]key{}
	var keys values
	for _, j := range jobs {
		p := place{j.key.name, -int64(j.key.priority)}
		if _, ok := first[p]; !ok {
			at := now
			if err := t.each(selectFirstPlace, []any{p.name, p.rank}, func(r *sql.Rows) error { return r.Scan(&at) }); err != nil {
				return err
			}
			first[p] = at
		}
		if _, ok := last[j.key]; !ok {
			last[j.key] = key{weight: 1}
			keys.add(j.key.name, j.key.key, int64(j.key.priority))
		}
	}
	err := t.each(selectLastTurns, []any{keys}, func(r *sql.Rows) error {
		var k fairKey
		var l key
		err := r.Scan(&k.name, &k.key, &k.priority, &l.At, &l.Nth, &l.weight)
		last[k] = l
		return err
	})
	if err != nil {
		return err
	}
	for i := range jobs {
		j := &jobs[i]
		l, at := last[j.key], first[place{j.key.name, -int64(j.key.priority)}]
		if j.returns {
			j.turn = lifecycle.Turn{At: max(j.turn.At, at), Nth: 1}
		} else {
			j.turn = l.Next(at, l.weight)
		}
		l.Turn = l.Later(j.turn)
		last[j.key] = l
	}
	return nil
}

// turnNew gives new jobs their turns, and stores their fair keys.
func (t *tx) turnNew(rows []newRow) error {
	var pending, others []fairJob
	var at []int // places in rows of the pending ones
	for i := range rows {
		r := &rows[i]
		f := fairJob{id: r.id, key: fairKey{nameKey{r.name, r.job.Fair}, r.Priority}}
		switch {
		case r.job.Fair == "":
		case r.State == backend.Pending:
			pending, at = append(pending, f), append(at, i)
		default:
			others = append(others, f)
		}
	}
	if len(pending)+len(others) == 0 {
		return nil
	}
	now, err := t.now()
	if err == nil {
		err = t.takeTurns(pending, now)
	}
	if err != nil {
		return err
	}
	for n, f := range pending {
		rows[at[n]].RunAt = f.turn.At
	}
	return t.storeFair(append(pending, others...))
}

// storeFair stores the fair keys of new jobs.
func (t *tx) storeFair(jobs []fairJob) error {
	rows := insert{head: insertFair}
	for _, j := range jobs {
		if err := rows.add(t, j.id, j.turn.At, int64(j.turn.Nth), int64(j.key.priority), j.key.name, j.key.key); err != nil {
			return err
		}
	}
	return rows.flush(t)
}

// turnRows gives the changed rows that take a turn, or return with one, their turns. A job that is not
// pending any more gives its turn back.
func (t *tx) turnRows(rows []*row, now int64) error {
	var fair []*row
	var changed values
	for _, r := range rows {
		switch {
		case r.flags&flagFair == 0:
		case r.was.TakesTurn(r.Job), r.was.Returns(r.Job):
			fair = append(fair, r)
		case r.was.State == backend.Pending && r.State != backend.Pending && r.State != backend.Running:
			changed.add(r.id, int64(0), int64(0), int64(r.Priority))
		}
	}
	if len(fair) > 0 {
		slices.SortFunc(fair, func(a, b *row) int { return cmp.Or(cmp.Compare(a.was.RunAt, b.was.RunAt), cmp.Compare(a.id, b.id)) })
		ids := make([]int64, len(fair))
		for i, r := range fair {
			ids[i] = r.id
		}
		keys := map[int64]string{}
		err := t.each(selectFairKeys, []any{idList(ids)}, func(r *sql.Rows) error {
			var id int64
			var key string
			err := r.Scan(&id, &key)
			keys[id] = key
			return err
		})
		if err != nil {
			return err
		}
		taking := make([]fairJob, len(fair))
		for i, r := range fair {
			key := fairKey{nameKey{r.name, keys[r.id]}, r.Priority}
			taking[i] = fairJob{id: r.id, key: key, returns: r.was.Returns(r.Job), turn: lifecycle.Turn{At: r.RunAt}}
		}
		if err := t.takeTurns(taking, now); err != nil {
			return err
		}
		for i, r := range fair {
			r.RunAt = taking[i].turn.At
			changed.add(r.id, r.RunAt, int64(taking[i].turn.Nth), int64(r.Priority))
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return t.later(updateTurns, changed)
}

const (
	deleteWeights = `DELETE FROM plainjobs_fair_weight WHERE name = ?`
	insertWeights = `INSERT INTO plainjobs_fair_weight (name, key_text, weight) VALUES `
)

// storeWeights replaces the weights of a name, which the settings have too, by those that turns
// are taken with.
func (t *tx) storeWeights(name string, o *jsonrow.Overriding) error {
	if _, err := t.exec(deleteWeights, name); err != nil || o == nil {
		return err
	}
	rows := insert{head: insertWeights}
	for key, weight := range o.Override.Weights {
		if err := rows.add(t, name, key, int64(weight)); err != nil {
			return err
		}
	}
	return rows.flush(t)
}
