package sqlite

import (
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// greatestID is the key of the greatest ID that a job has had.
var greatestID = countKey{}

// noteID notes that a job has, or had, an ID.
func (t *tx) noteID(id int64) {
	if t.counts == nil {
		t.counts = map[countKey]int64{}
	}
	t.counts[greatestID] = max(t.counts[greatestID], id)
}

type countKey struct {
	name  int64
	state backend.State
}

// count adds delta to the number of jobs of a name in a state.
func (t *tx) count(name int64, state backend.State, delta int64) {
	if t.counts == nil {
		t.counts = map[countKey]int64{}
	}
	t.counts[countKey{name, state}] += delta
	if delta > 0 && (state == backend.Pending || state == backend.Scheduled) ||
		delta < 0 && state == backend.Running && t.set[name].Limited() {
		t.wakes = true
	}
}

// add counts a pushed job.
func (t *tx) add(name int64, state backend.State) {
	if state != backend.Pending {
		t.count(name, state, 1)
		return
	}
	if t.counts == nil {
		t.counts = map[countKey]int64{}
	}
	t.counts[countKey{name, state}]++
	if !slices.Contains(t.pushed, name) {
		t.pushed = append(t.pushed, name)
	}
}

// move counts jobs that change from one state to another.
func (t *tx) move(name int64, from, to backend.State, delta int64) {
	t.count(name, from, -delta)
	t.count(name, to, delta)
}

// counted returns the number of jobs of a name that query reads, plus the changes of
// this transaction to the states.
func (t *tx) counted(query string, name int64, states ...backend.State) (n int64, err error) {
	err = t.each(query, []any{name}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&n) })
	for _, s := range states {
		n += t.counts[countKey{name, s}]
	}
	return n, err
}

var addCounts = newRows(`INSERT INTO plainjobs_job_count (name, state, jobs) VALUES `, 3,
	` ON CONFLICT (name, state) DO UPDATE SET jobs = CASE state WHEN 0 THEN max(jobs, excluded.jobs) ELSE jobs + excluded.jobs END`)

// finishWrites stores what the transaction has noted and not written yet.
func (t *tx) finishWrites() error {
	if t.gates != nil {
		if err := t.gates.b.settleGates(t); err != nil {
			return err
		}
	}
	if err := t.flushReady(); err != nil {
		return err
	}
	if err := t.deleteSettledClaims(); err != nil {
		return err
	}
	return t.writeCounts()
}

// writeCounts stores the changes of the transaction.
func (t *tx) writeCounts() error {
	changed := make([]countKey, 0, len(t.counts))
	for key, delta := range t.counts {
		if delta != 0 {
			changed = append(changed, key)
		}
	}
	return addCounts.exec(t, len(changed), func(args []any, i int) []any {
		return append(args, changed[i].name, int64(changed[i].state), t.counts[changed[i]])
	})
}
