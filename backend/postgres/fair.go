package postgres

import (
	"cmp"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A job with a fair key has a row of job_fair, and its turn is its run_at. So spans and
// claims know nothing of fair keys. Transactions that do not see each other may give the
// same turn: nothing is locked for a key.

const (
	selectFirstPlaces = `
		SELECT v.name, v.rank, (
			SELECT r.run_at FROM plainjobs.ready r WHERE r.name = v.name AND r.suspect = false AND r.rank = v.rank ORDER BY r.run_at LIMIT 1)
		FROM unnest($1::text::text[], $2::text::integer[]) AS v(name, rank)`
	selectLastTurns = `
		SELECT v.name, v.key, v.priority, coalesce(l.turn, 0), coalesce(l.nth, 0), coalesce(w.weight, 1) FROM unnest($1::text::text[], $2::text::text[], $3::text::smallint[]) AS v(name, key, priority)
		LEFT JOIN LATERAL (
			SELECT f.turn, f.nth FROM plainjobs.job_fair f WHERE f.name = v.name AND f.key = v.key AND f.priority = v.priority ORDER BY f.turn DESC, f.nth DESC LIMIT 1) l ON true
		LEFT JOIN plainjobs.fair_weight w ON w.name = v.name AND w.key = v.key`
	selectFairKeys = `SELECT job, key FROM plainjobs.job_fair WHERE job = ANY($1::text::bigint[])`
	insertFair     = `
		INSERT INTO plainjobs.job_fair (job, turn, nth, priority, name, key)
		SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::integer[], $4::text::smallint[], $5::text::text[], $6::text::text[])`
	updateTurns = `
		UPDATE plainjobs.job_fair f SET turn = v.turn, nth = v.nth, priority = v.priority
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::integer[], $4::text::smallint[]) AS v(job, turn, nth, priority) WHERE f.job = v.job`
	deleteFair = `DELETE FROM plainjobs.job_fair WHERE job = ANY($1::text::bigint[])`
)

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
	if len(jobs) == 0 {
		return nil
	}
	type place struct {
		name string
		rank int64
	}
	type key struct {
		lifecycle.Turn
		weight int
	}
	first, last := map[place]int64{}, map[fairKey]key{}
	var names []string
	var ranks []int64
	var keys []nameKey
	var priorities []int16
	for _, j := range jobs {
		p := place{j.key.name, -int64(j.key.priority)}
		if _, ok := first[p]; !ok {
			names, ranks = append(names, p.name), append(ranks, p.rank)
			first[p] = now
		}
		if _, ok := last[j.key]; !ok {
			keys, priorities = append(keys, j.key.nameKey), append(priorities, j.key.priority)
			last[j.key] = key{}
		}
	}
	err := t.each(selectFirstPlaces, []any{textArray(names), intArray(ranks)}, func(r *sql.Rows) error {
		var p place
		var at sql.NullInt64
		err := r.Scan(&p.name, &p.rank, &at)
		if at.Valid {
			first[p] = at.Int64
		}
		return err
	})
	if err != nil {
		return err
	}
	texts, values := columns(keys)
	err = t.each(selectLastTurns, []any{texts, values, intArray(priorities)}, func(r *sql.Rows) error {
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

// storeFair stores the fair keys of new jobs.
func (t *tx) storeFair(jobs []fairJob) error {
	if len(jobs) == 0 {
		return nil
	}
	ids, turns, nths, priorities, keys := fairColumns(jobs)
	names, values := columns(keys)
	_, err := t.exec(insertFair, ids, turns, nths, priorities, names, values)
	return err
}

func fairColumns(jobs []fairJob) (ids, turns, nths, priorities string, keys []nameKey) {
	var all, ats, places []int64
	var ranks []int16
	for _, j := range jobs {
		all, ats, places = append(all, j.id), append(ats, j.turn.At), append(places, int64(j.turn.Nth))
		ranks, keys = append(ranks, j.key.priority), append(keys, j.key.nameKey)
	}
	return intArray(all), intArray(ats), intArray(places), intArray(ranks), keys
}

// turnRows gives the changed rows that take a turn, or return with one, their turns. A job that is not
// pending any more gives its turn back.
func (t *tx) turnRows(rows []*row, now int64) error {
	var fair []*row
	var taking, changed []fairJob
	for _, r := range rows {
		if r.flags&flagFair == 0 {
			continue
		}
		was := lifecycle.Job{State: r.was, RunAt: r.wasAt, Priority: r.wasPriority}
		switch {
		case was.TakesTurn(r.Job), was.Returns(r.Job):
			fair = append(fair, r)
		case r.was == backend.Pending && r.State != backend.Pending && r.State != backend.Running:
			changed = append(changed, fairJob{id: r.id})
		}
	}
	if len(fair) > 0 {
		slices.SortFunc(fair, func(a, b *row) int { return cmp.Compare(a.id, b.id) })
		ids := make([]int64, len(fair))
		for i, r := range fair {
			ids[i] = r.id
		}
		keys := map[int64]string{}
		err := t.each(selectFairKeys, []any{intArray(ids)}, func(r *sql.Rows) error {
			var id int64
			var key string
			err := r.Scan(&id, &key)
			keys[id] = key
			return err
		})
		if err != nil {
			return err
		}
		for _, r := range fair {
			was := lifecycle.Job{State: r.was, RunAt: r.wasAt, Priority: r.wasPriority}
			key := fairKey{nameKey{r.name, keys[r.id]}, r.Priority}
			taking = append(taking, fairJob{id: r.id, key: key, returns: was.Returns(r.Job), turn: lifecycle.Turn{At: r.RunAt}})
		}
		if err := t.takeTurns(taking, now); err != nil {
			return err
		}
		for i, r := range fair {
			r.RunAt = taking[i].turn.At
		}
	}
	if changed = append(changed, taking...); len(changed) == 0 {
		return nil
	}
	ids, turns, nths, priorities, _ := fairColumns(changed)
	_, err := t.exec(updateTurns, ids, turns, nths, priorities)
	return err
}

const (
	deleteWeights = `DELETE FROM plainjobs.fair_weight WHERE name = $1::text`
	insertWeights = `
		INSERT INTO plainjobs.fair_weight (name, key, weight)
		SELECT $1::text, v.key, v.weight FROM unnest($2::text::text[], $3::text::integer[]) AS v(key, weight)`
)

// storeWeights replaces the weights of a name, which the settings have too, by those that turns
// are taken with.
func (t *tx) storeWeights(name string, o *jsonrow.Overriding) error {
	if _, err := t.exec(deleteWeights, name); err != nil || o == nil || len(o.Override.Weights) == 0 {
		return err
	}
	var keys []string
	var weights []int64
	for key, weight := range o.Override.Weights {
		keys, weights = append(keys, key), append(weights, int64(weight))
	}
	_, err := t.exec(insertWeights, name, textArray(keys), intArray(weights))
	return err
}
