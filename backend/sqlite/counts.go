package sqlite

import (
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

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

const addCount = `
	INSERT INTO plainjobs_counts (name, state, jobs) VALUES (?, ?, ?)
	ON CONFLICT (name, state) DO UPDATE SET jobs = jobs + excluded.jobs`

// writeCounts stores the changes of the transaction.
func (t *tx) writeCounts() error {
	for key, delta := range t.counts {
		if delta != 0 {
			if _, err := t.exec(addCount, key.name, int64(key.state), delta); err != nil {
				return err
			}
		}
	}
	return nil
}
