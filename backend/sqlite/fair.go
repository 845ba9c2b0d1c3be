package sqlite

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A job with a fair key has a row of plainjobs_job_fair, and its turn is its run_at. So
// spans and claims know nothing of fair keys.

const (
	selectFirstPlace = `
		SELECT run_at FROM plainjobs_ready WHERE name = (?+0) AND suspect = 0 AND rank = (?+0) ORDER BY run_at LIMIT 1`
	selectLastTurn = `
		SELECT turn, nth FROM plainjobs_job_fair WHERE name = (?+0) AND key = (?||'') AND priority = (?+0) ORDER BY turn DESC, nth DESC LIMIT 1`
	selectFairKey = `SELECT key FROM plainjobs_job_fair WHERE job = ?`
	updateTurn    = `UPDATE plainjobs_job_fair SET turn = ?, nth = ?, priority = ? WHERE job = ?`
	updatePlace   = `UPDATE plainjobs_job SET run_at = ? WHERE id = ?`
	deleteFair    = `DELETE FROM plainjobs_job_fair WHERE job = ?`
)

var (
	insertFair   = newRows(`INSERT INTO plainjobs_job_fair (job, name, key, priority, turn, nth) VALUES `, 6, ``)
	deleteFairOf = newList(`DELETE FROM plainjobs_job_fair WHERE job IN (`, `?`, `)`)
)

// turns is what a transaction knows of turns: it is forgotten when jobs leave their spans.
type turns struct {
	first map[firstOf]int64 // the first place
	last  map[fairKey]lifecycle.Turn
}

type firstOf struct{ name, rank int64 }

// A fairKey is a fair key of a name, among the jobs of one priority.
type fairKey struct {
	name     int64
	key      string
	priority int16
}

// A fairJob is a row of plainjobs_job_fair.
type fairJob struct {
	id   int64
	key  fairKey
	turn lifecycle.Turn
}

// firstPlace returns the RunAt of the first job that waits, or now.
func (t *tx) firstPlace(name int64, priority int16, now int64) (int64, error) {
	if t.turns == nil {
		t.turns = &turns{map[firstOf]int64{}, map[fairKey]lifecycle.Turn{}}
	}
	of := firstOf{name, -int64(priority)}
	if first, ok := t.turns.first[of]; ok {
		return first, nil
	}
	if err := t.flushReady(); err != nil {
		return 0, err
	}
	first := now
	err := t.each(selectFirstPlace, []any{of.name, of.rank}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&first) })
	t.turns.first[of] = first
	return first, err
}

// nextTurn returns the turn of the next job of a fair key.
func (t *tx) nextTurn(k fairKey, now int64) (lifecycle.Turn, error) {
	first, err := t.firstPlace(k.name, k.priority, now)
	if err != nil {
		return lifecycle.Turn{}, err
	}
	last, ok := t.turns.last[k]
	if !ok {
		err := t.each(selectLastTurn, []any{k.name, k.key, int64(k.priority)}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&last.At, &last.Nth) })
		if err != nil {
			return lifecycle.Turn{}, err
		}
	}
	set, err := t.settings()
	if err != nil {
		return lifecycle.Turn{}, err
	}
	weight := 1
	if o := set[k.name].override; o != nil {
		weight = lifecycle.WeightOf(&o.Override, k.key)
	}
	next := last.Next(first, weight)
	t.turns.last[k] = next
	return next, nil
}

// takeTurn gives a stored job that becomes next its turn, if it takes one. Its span must
// not have it any more.
func (t *tx) takeTurn(id, name int64, flags flag, from lifecycle.Job, next *lifecycle.Job, now int64) error {
	if flags&flagFair == 0 {
		return nil
	}
	if from.Returns(*next) {
		first, err := t.firstPlace(name, next.Priority, now)
		if err != nil {
			return err
		}
		next.RunAt = max(next.RunAt, first)
		t.turns = nil // the key has another last turn
		_, err = t.exec(updateTurn, next.RunAt, int64(1), int64(next.Priority), id)
		return err
	}
	if !from.TakesTurn(*next) {
		if from.State == backend.Pending && next.State != backend.Pending { // it needs its turn no more
			_, err := t.exec(updateTurn, int64(0), int64(0), int64(from.Priority), id)
			return err
		}
		return nil
	}
	k := fairKey{name: name, priority: next.Priority}
	err := t.each(selectFairKey, []any{id}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&k.key) })
	if err != nil {
		return err
	}
	turn, err := t.nextTurn(k, now)
	if err != nil {
		return err
	}
	next.RunAt = turn.At
	_, err = t.exec(updateTurn, turn.At, int64(turn.Nth), int64(k.priority), id)
	return err
}

// storeFair stores the fair keys of new jobs.
func (t *tx) storeFair(jobs []fairJob) error {
	if len(jobs) == 0 {
		return nil
	}
	return insertFair.exec(t, len(jobs), func(args []any, i int) []any {
		j := &jobs[i]
		return append(args, j.id, j.key.name, j.key.key, int64(j.key.priority), j.turn.At, int64(j.turn.Nth))
	})
}

// storeRecordFair stores the fair key of an imported job, which keeps its place.
func (t *tx) storeRecordFair(k jobKeys, r *backend.Record) error {
	if r.FairKey == "" {
		return nil
	}
	j := fairJob{id: k.id, key: fairKey{k.name, r.FairKey, r.Priority}}
	if r.State == backend.Pending {
		j.turn = lifecycle.Turn{At: r.RunAt.UnixMicro(), Nth: 1}
	}
	return t.storeFair([]fairJob{j})
}

// deleteFairOfRuns deletes the fair keys of jobs that are deleted when they are done.
func (t *tx) deleteFairOfRuns(runs []doneRun) error {
	for i := range runs {
		if _, err := t.exec(deleteFair, runs[i].ID); err != nil {
			return err
		}
	}
	return nil
}
