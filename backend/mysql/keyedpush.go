package mysql

import (
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// The lock serializes transactions that must know how many jobs wait.
	lockPush     = `INSERT INTO plainjobs_push_lock (name) VALUES `
	lockPushTail = ` ON DUPLICATE KEY UPDATE name = VALUES(name)`

	updateReplaced = `UPDATE plainjobs_job SET metadata = ?, payload = ? WHERE id = ?`
)

// A push is the jobs of one Push call while they are stored.
type push struct {
	t    *tx
	jobs []backend.NewJob // as they will be stored: later jobs of the batch may replace earlier ones
	now  int64
	ids  idBlock // of the jobs, if all are stored

	firsts   map[nameKey]int   // by unique key, the first job of the batch with it
	gated    bool              // some have to do with gates
	holders  map[nameKey]int64 // by unique key, the stored job that holds it
	locked   map[int64]*row    // stored jobs that Replace may change, or that may become members of gates
	replaced map[int64]*row    // stored jobs that Replace may change, locked
	waits    map[string]int64  // by bounded name, the number of waiting jobs

	added  []int // indexes in jobs
	change []int
	joins  []int // indexes of duplicates, whose stored jobs become members of gates
	pushed []backend.Pushed
}

// id returns the ID that a job of the batch gets if it is stored.
func (p *push) id(i int) int64 { return p.ids.next + int64(i) }

// push stores all jobs, or none. It locks in the order of all other transactions: gates, jobs,
// unique keys, serial keys.
func (t *tx) push(jobs []backend.NewJob) ([]backend.Pushed, error) {
	p := &push{t: t, jobs: slices.Clone(jobs), pushed: make([]backend.Pushed, len(jobs))}
	var err error
	if p.now, err = t.now(); err != nil {
		return nil, err
	}
	if p.jobs, err = lifecycle.CountFrom(p.jobs, instant(p.now)); err != nil {
		return nil, rejected{err}
	}
	p.ids, err = t.newIDs(len(jobs))
	for _, step := range []func() error{p.lockGates, p.lockStored, p.takeKeys, p.lockBounded, p.decide, p.store, p.replace, p.join} {
		if err == nil {
			err = step()
		}
	}
	return p.pushed, err
}

// lockStored locks the jobs that Replace may change, and those that may become members of gates,
// before their keys.
func (p *push) lockStored() error {
	keys := map[nameKey]bool{} // whether Replace may change the job
	for i := range p.jobs {
		j := &p.jobs[i]
		if k := (nameKey{j.Name, j.Unique.Key}); j.Unique.Conflict == backend.Replace || k.key != "" && sqlstore.Joins(j) {
			keys[k] = keys[k] || j.Unique.Conflict == backend.Replace
		}
	}
	if len(keys) == 0 {
		return nil
	}
	holders, err := p.t.holders(sortedKeys(keys), p.now)
	if err != nil || len(holders) == 0 {
		return err
	}
	if p.locked, err = p.t.lock(slices.Collect(maps.Values(holders))); err != nil {
		return err
	}
	p.replaced = map[int64]*row{}
	for k, id := range holders {
		if r := p.locked[id]; r != nil && keys[k] {
			p.replaced[id] = r
		}
	}
	return p.t.own(slices.Collect(maps.Values(p.replaced)))
}

// takeKeys acquires the unique keys of the batch that are free.
func (p *push) takeKeys() error {
	p.firsts = map[nameKey]int{}
	wanted := map[nameKey]claimant{}
	for i := range p.jobs {
		j := &p.jobs[i]
		k := nameKey{j.Name, j.Unique.Key}
		if _, ok := p.firsts[k]; ok || k.key == "" {
			continue
		}
		c := claimant{job: p.id(i)}
		if j.Unique.For > 0 {
			c.until = p.now + j.Unique.For.Microseconds()
		}
		p.firsts[k], wanted[k] = i, c
	}
	if len(wanted) == 0 {
		return nil
	}
	var err error
	p.holders, err = p.t.acquireUnique(wanted, p.now)
	return err
}

// lockBounded locks the pushes of the batch's bounded names, and counts their waiting jobs.
func (p *push) lockBounded() error {
	bounded := map[string]bool{}
	for i := range p.jobs {
		if p.jobs[i].MaxPending > 0 {
			bounded[p.jobs[i].Name] = true
		}
	}
	if len(bounded) == 0 {
		return nil
	}
	names := sqlstore.Sorted(bounded)
	rows := insert{head: lockPush, tail: lockPushTail}
	for _, name := range names {
		if err := rows.add(p.t, name); err != nil {
			return err
		}
	}
	if err := rows.flush(p.t); err != nil {
		return err
	}
	var err error
	p.waits, err = p.t.counted(names, backend.Scheduled, backend.Pending)
	return err
}

// decide decides for each job, in order, whether it is added, is a duplicate, or exceeds its
// bound.
func (p *push) decide() error {
	for i := range p.jobs {
		j := &p.jobs[i]
		k := nameKey{j.Name, j.Unique.Key}
		if k.key != "" {
			if holder, ok := p.holders[k]; ok {
				if err := p.duplicate(i, holder); err != nil {
					return err
				}
				continue
			}
			if first := p.firsts[k]; first != i {
				if j.Unique.Conflict == backend.Reject {
					return rejected{&backend.DuplicateError{Index: i, Name: j.Name, Key: k.key}}
				}
				if j.Unique.Conflict == backend.Replace {
					f := &p.jobs[first]
					f.Payload, f.Metadata, f.Priority, f.Delay, f.Expires = j.Payload, j.Metadata, j.Priority, j.Delay, j.Expires
				}
				p.pushed[i] = backend.Pushed{ID: p.id(first), Duplicate: true}
				sqlstore.JoinFirst(&p.jobs[first], j)
				continue
			}
		}
		if n := p.waits[j.Name]; j.MaxPending > 0 && n >= int64(j.MaxPending) {
			return rejected{&backend.QueueFullError{Index: i, Name: j.Name, Waiting: n, MaxPending: j.MaxPending}}
		}
		if p.waits != nil {
			p.waits[j.Name]++
		}
		p.added = append(p.added, i)
		p.pushed[i].ID = p.id(i)
	}
	return nil
}

// duplicate handles a job whose unique key a stored job holds.
func (p *push) duplicate(i int, holder int64) error {
	j := &p.jobs[i]
	if j.Unique.Conflict != backend.KeepFirst {
		r := p.replaced[holder]
		if j.Unique.Conflict == backend.Reject || r == nil || !r.State.Waits() {
			return rejected{&backend.DuplicateError{Index: i, Name: j.Name, Key: j.Unique.Key, ID: holder}}
		}
		p.change = append(p.change, i)
	}
	if sqlstore.Joins(j) {
		p.joins = append(p.joins, i)
	}
	p.pushed[i] = backend.Pushed{ID: holder, Duplicate: true}
	return nil
}

// store inserts the added jobs, behind the heads of their serial keys.
func (p *push) store() error {
	heads := map[nameKey]int64{}
	rows := make([]newRow, len(p.added))
	for n, i := range p.added {
		j := &p.jobs[i]
		rows[n] = newRow{j, newRowOf(j, p.id(i), p.ids.seed, p.now)}
		if j.Serial == "" || lifecycle.Gated(j) {
			continue
		}
		k := nameKey{j.Name, j.Serial}
		if _, ok := heads[k]; ok {
			rows[n].State = backend.Blocked
		} else {
			heads[k] = p.id(i)
		}
	}
	behind, err := p.t.queueUp(heads)
	if err != nil {
		return err
	}
	for n := range rows {
		if behind[nameKey{rows[n].name, rows[n].serial}] {
			rows[n].State = backend.Blocked
		}
	}
	return p.t.insertRows(rows)
}

// replace updates stored jobs with the contents of their duplicates.
func (p *push) replace() error {
	changed := map[int64]*row{}
	for _, i := range p.change {
		j := &p.jobs[i]
		r := p.replaced[p.pushed[i].ID]
		metadata := j.Metadata
		if len(metadata) == 0 {
			metadata = nil
		}
		payload := j.Payload
		if payload == nil {
			payload = []byte{} // nil would be NULL
		}
		if r.flags&flagBehind == 0 {
			r.Job = r.Replace(j, p.now)
		} else {
			r.Job = lifecycle.Behind(j, p.now)
			if err := p.t.later(updateWaiter, j.Delay.Microseconds(), j.Expires.Microseconds(), r.id); err != nil {
				return err
			}
		}
		if err := p.t.later(updateReplaced, metadata, payload, r.id); err != nil {
			return err
		}
		changed[r.id] = r
	}
	for id, r := range p.replaced {
		if r.owned { // its span is to be stored again
			changed[id] = r
		}
	}
	rows := make([]*row, 0, len(changed))
	for _, id := range sqlstore.Sorted(changed) {
		rows = append(rows, changed[id])
	}
	return p.t.update(rows)
}
