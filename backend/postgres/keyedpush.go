package postgres

import (
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	drawIDs = `SELECT nextval('plainjobs.job_id_seq') FROM generate_series(1, $1::bigint)`

	insertJobs = `
		WITH added AS (
		INSERT INTO plainjobs.job (id, seed, name, state, priority, max_attempts, created_at, run_at, finished_at, expires_at, flags,
			unique_key, serial_key, metadata, payload)
		OVERRIDING SYSTEM VALUE
		SELECT v.id, $16::bigint, v.name, v.state, v.priority, v.max_attempts, $12::bigint, $12::bigint + v.delay, $12::bigint,
			CASE WHEN v.expires > 0 THEN $12::bigint + v.expires END, v.flags, nullif(v.unique_key, ''), nullif(v.serial_key, ''),
			` + cutMetadata + `, ` + cutPayload + `
		FROM unnest($1::text::text[], $2::text::smallint[], $3::text::smallint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
			$7::text::integer[], $8::text::integer[], $9::text::integer[], $10::text::integer[], $13::text::bigint[], $14::text::text[],
			$15::text::text[])
			AS v(name, state, priority, max_attempts, delay, expires, flags, payload, metadata, place, id, unique_key, serial_key)
		RETURNING id, name, suspect, priority, run_at, state)` + insertSpans

	// The lock serializes transactions that must know how many jobs wait.
	lockBounds = `
		INSERT INTO plainjobs.gate AS g (name) SELECT v.name FROM unnest($1::text::text[]) AS v(name) ORDER BY v.name COLLATE "C"
		ON CONFLICT (name) DO UPDATE SET name = g.name WHERE false`

	updateReplaced = `
		UPDATE plainjobs.job SET state = $2::smallint, priority = $3::smallint, run_at = $4::bigint, expires_at = nullif($5::bigint, 0),
			metadata = $6::bytea, payload = $7::bytea
		WHERE id = $1::bigint`
)

// A push is the jobs of one Push call while they are stored.
type push struct {
	t    *tx
	jobs []backend.NewJob // as they will be stored: later jobs of the batch may replace earlier ones
	now  int64
	ids  []int64 // drawn before the jobs are stored, because keys refer to them

	gated    bool              // some have to do with gates
	first    map[nameKey]int   // by unique key, the first job of the batch with it
	holders  map[nameKey]int64 // by unique key, the stored job that holds it
	locked   map[int64]*row    // stored jobs that Replace may change, or that may become members of gates
	replaced map[int64]*row    // those of them that Replace may change, in no span any more
	waits    map[string]int64  // by bounded name, the number of waiting jobs

	added  []int // indexes in jobs
	change []int
	joins  []int // indexes of duplicates, whose stored jobs become members of gates
	pushed []backend.Pushed
}

// push stores all jobs, or none. It locks in the order of all other transactions:
// gates, jobs, unique keys, serial keys.
func (t *tx) push(jobs []backend.NewJob) ([]backend.Pushed, error) {
	p := &push{t: t, jobs: slices.Clone(jobs), pushed: make([]backend.Pushed, len(jobs))}
	var err error
	if p.now, err = t.now(); err != nil {
		return nil, err
	}
	if p.jobs, err = lifecycle.CountFrom(p.jobs, instant(p.now)); err != nil {
		return nil, rejected{err}
	}
	err = t.each(drawIDs, []any{len(jobs)}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		p.ids = append(p.ids, id)
		return err
	})
	for _, step := range []func() error{p.lockGates, p.lockStored, p.takeKeys, p.bound, p.decide, p.store, p.replace, p.join} {
		if err == nil {
			err = step()
		}
	}
	return p.pushed, err
}

// lockStored locks the jobs that Replace may change, and those that may become members of
// gates, before their keys.
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
	holders, err := p.t.holders(slices.Collect(maps.Keys(keys)), p.now)
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
	p.first = map[nameKey]int{}
	wanted := map[nameKey]claimant{}
	for i := range p.jobs {
		j := &p.jobs[i]
		k := nameKey{j.Name, j.Unique.Key}
		if _, ok := p.first[k]; ok || k.key == "" {
			continue
		}
		c := claimant{job: p.ids[i]}
		if j.Unique.For > 0 {
			c.until = p.now + j.Unique.For.Microseconds()
		}
		p.first[k], wanted[k] = i, c
	}
	if len(wanted) == 0 {
		return nil
	}
	var err error
	p.holders, err = p.t.acquireUnique(wanted, p.now)
	return err
}

// bound locks the rows of the batch's bounded names, and counts their waiting
// jobs.
func (p *push) bound() error {
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
	if _, err := p.t.exec(lockBounds, textArray(names)); err != nil {
		return err
	}
	var err error
	p.waits, err = p.t.counted(names, backend.Scheduled, backend.Pending)
	return err
}

// decide decides for each job, in order, whether it is added, is a duplicate, or
// exceeds its bound.
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
			if first := p.first[k]; first != i {
				if j.Unique.Conflict == backend.Reject {
					return rejected{&backend.DuplicateError{Index: i, Name: j.Name, Key: k.key}}
				}
				if j.Unique.Conflict == backend.Replace {
					f := &p.jobs[first]
					f.Payload, f.Metadata, f.Priority, f.Delay, f.Expires = j.Payload, j.Metadata, j.Priority, j.Delay, j.Expires
				}
				p.pushed[i] = backend.Pushed{ID: p.ids[first], Duplicate: true}
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
		p.pushed[i].ID = p.ids[i]
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
	if len(p.added) == 0 {
		return nil
	}
	heads := map[nameKey]int64{}
	states := make([]backend.State, len(p.added))
	for n, i := range p.added {
		j := &p.jobs[i]
		if states[n] = waiting(j); lifecycle.Gated(j) {
			states[n] = backend.Blocked
		} else if j.Serial != "" {
			k := nameKey{j.Name, j.Serial}
			if _, ok := heads[k]; ok {
				states[n] = backend.Blocked
			} else {
				heads[k] = p.ids[i]
			}
		}
	}
	p.t.again = true
	blocked, err := p.t.queueUp(heads)
	if err != nil {
		return err
	}
	for n, i := range p.added {
		if j := &p.jobs[i]; blocked[nameKey{j.Name, j.Serial}] {
			states[n] = backend.Blocked
		}
		p.t.count(p.jobs[i].Name, states[n], 1)
	}
	if err := p.takeTurns(states); err != nil {
		return err
	}
	for from := 0; from < len(p.added); {
		to, size := from, 0
		for to < len(p.added) && (to == from || to-from < maxPushes && size < maxPushBytes) {
			size += len(p.jobs[p.added[to]].Payload) + len(p.jobs[p.added[to]].Metadata)
			to++
		}
		if err := p.insert(p.added[from:to], states[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// takeTurns gives the added jobs their turns, as delays, and stores their fair keys.
func (p *push) takeTurns(states []backend.State) error {
	var pending, others []fairJob
	var at []int // places in jobs of the pending ones
	for n, i := range p.added {
		j := &p.jobs[i]
		f := fairJob{id: p.ids[i], key: fairKey{nameKey{j.Name, j.Fair}, j.Priority}}
		switch {
		case j.Fair == "":
		case states[n] == backend.Pending:
			pending, at = append(pending, f), append(at, i)
		default:
			others = append(others, f)
		}
	}
	if err := p.t.takeTurns(pending, p.now); err != nil {
		return err
	}
	for n, f := range pending {
		p.jobs[at[n]].Delay = time.Duration(f.turn.At-p.now) * time.Microsecond
	}
	return p.t.storeFair(append(pending, others...))
}

func (p *push) insert(places []int, states []backend.State) error {
	jobs, ids := make([]backend.NewJob, len(places)), make([]int64, len(places))
	for n, i := range places {
		jobs[n], ids[n] = p.jobs[i], p.ids[i]
		if j := &jobs[n]; lifecycle.Gated(j) {
			behind := lifecycle.Behind(j, p.now)
			j.Delay, j.Expires = time.Duration(behind.RunAt-p.now)*time.Microsecond, 0
			if behind.ExpiresAt != 0 {
				j.Expires = time.Duration(behind.ExpiresAt-p.now) * time.Microsecond
			}
		}
	}
	b := newBatch(jobs, states)
	_, err := p.t.exec(insertJobs, textArray(b.names), intArray(b.states), intArray(b.priorities), intArray(b.maxAttempts), intArray(b.delays),
		intArray(b.expires), intArray(b.flags), intArray(b.payloads), intArray(b.metadata), intArray(b.places), b.blob, p.now, intArray(ids),
		textArray(b.uniques), textArray(b.serials), p.t.seed())
	return err
}

// replace updates stored jobs with the contents of their duplicates.
func (p *push) replace() error {
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
		was := r.State
		if r.flags&flagBehind != 0 && r.flags&flagHeld == 0 {
			r.Job = lifecycle.Behind(j, p.now)
			if _, err := p.t.exec(updateWaiter, r.id, j.Delay.Microseconds(), j.Expires.Microseconds()); err != nil {
				return err
			}
		} else {
			r.Job = r.Replace(j, p.now)
			if err := p.t.turnRows([]*row{r}, p.now); err != nil {
				return err
			}
		}
		_, err := p.t.exec(updateReplaced, r.id, int64(r.State), int64(r.Priority), r.RunAt, r.ExpiresAt, metadata, payload)
		if err != nil {
			return err
		}
		p.t.move(r.name, was, r.State, 1)
	}
	var ready []span
	for _, r := range p.replaced {
		if r.State == backend.Pending {
			ready = append(ready, spanOf(r))
		}
	}
	return p.t.ready(ready)
}
