package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// maxPayload is a quarter of what the server accepts in one message, because some
// drivers send bytes as text.
const maxPayload = 256 << 20

// check returns an error if the store cannot keep the jobs.
func check(jobs []backend.NewJob) error {
	if err := backend.CheckNewJobs(jobs); err != nil {
		return err
	}
	return backend.CheckPayloads(jobs, maxPayload)
}

// Push implements [backend.Backend].
func (b *Backend) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := check(jobs); err != nil {
		return nil, fmt.Errorf("postgres: push: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	if len(jobs) <= maxPushes && sizeOf(jobs) <= maxPushBytes {
		if arePlain(jobs) {
			return b.share(ctx, &b.pushes, jobs)
		}
		if name, ok := gateOf(jobs); ok {
			return b.share(ctx, b.gates.batcher(b, name), jobs)
		}
	}
	var pushed []backend.Pushed
	err := b.write(ctx, "push", b.durable(), func(t *tx) (err error) {
		pushed, err = t.push(jobs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pushed, nil
}

// share stores jobs in one transaction with other pushes.
func (b *Backend) share(ctx context.Context, queue *batcher[*pushing], jobs []backend.NewJob) ([]backend.Pushed, error) {
	p := &pushing{jobs: jobs, since: time.Now()}
	leave, err := b.enter()
	if err == nil {
		defer leave()
		if err = queue.do(ctx, p); err == nil && p.refused != nil {
			err = rejected{p.refused}
		}
		b.compactCounts(ctx)
	}
	if err != nil {
		return nil, b.failed(ctx, "push", err)
	}
	return p.pushed, nil
}

// Bounds of the pushes that share a transaction, and of one INSERT.
const (
	maxPushes    = 2000
	maxPushBytes = 4 << 20
)

// A pushing is a push that may share a transaction with others.
type pushing struct {
	jobs    []backend.NewJob
	pushed  []backend.Pushed
	refused *backend.QueueFullError // set instead of pushed
	since   time.Time               // when Push was called
}

// take gives the push its share of the IDs, and returns the rest.
func (p *pushing) take(ids []int64) []int64 {
	p.pushed = make([]backend.Pushed, len(p.jobs))
	for i := range p.pushed {
		p.pushed[i].ID = ids[i]
	}
	return ids[len(p.jobs):]
}

// flushPushes stores the jobs of several pushes with one statement.
func (b *Backend) flushPushes(ctx context.Context, group []*pushing) error {
	jobs := group[0].jobs
	if len(group) > 1 {
		jobs = nil
		for _, p := range group {
			jobs = append(jobs, p.jobs...)
		}
	}
	// A single statement is its own transaction, and takes one round trip.
	var ids []int64
	var t *tx
	err := b.alone(ctx, false, func(q querier) (err error) {
		t = &tx{b: b, ctx: ctx, conn: q}
		ids, err = t.insertPlain(jobs, b.durable())
		return err
	})
	if err != nil {
		return err
	}
	b.committed(t)
	if err := inDoubt(ctx, ctx); err != nil {
		return err
	}
	for _, p := range group {
		ids = p.take(ids)
	}
	return nil
}

// isPlain reports whether a job needs only its row.
func isPlain(j *backend.NewJob) bool {
	return isKeyless(j) && j.MaxPending == 0
}

// isKeyless reports whether a job needs only its row and a check of MaxPending.
func isKeyless(j *backend.NewJob) bool { return j.Unique.Key == "" && j.Serial == "" && !j.Timed() }

func arePlain(jobs []backend.NewJob) bool {
	for i := range jobs {
		if !isPlain(&jobs[i]) {
			return false
		}
	}
	return true
}

func sizeOf(jobs []backend.NewJob) (n int) {
	for i := range jobs {
		n += len(jobs[i].Payload) + len(jobs[i].Metadata)
	}
	return n
}

// A batch is jobs as the parameters of an INSERT. All payloads and metadata are one
// byte string, from which the statement cuts each row's part.
type batch struct {
	names, uniques, serials []string
	states                  []backend.State
	priorities              []int16
	maxAttempts, delays     []int64
	expires, flags          []int64
	payloads, metadata      []int64 // their lengths
	places                  []int64 // where a row's bytes begin, from 1: the payload, then the metadata
	blob                    []byte
}

func newBatch(jobs []backend.NewJob, states []backend.State) *batch {
	n := len(jobs)
	b := &batch{
		names: make([]string, n), states: states, priorities: make([]int16, n), maxAttempts: make([]int64, n), delays: make([]int64, n),
		expires: make([]int64, n), flags: make([]int64, n), payloads: make([]int64, n), metadata: make([]int64, n), places: make([]int64, n),
		uniques: make([]string, n), serials: make([]string, n), blob: make([]byte, 0, sizeOf(jobs)),
	}
	for i := range jobs {
		j := &jobs[i]
		b.names[i], b.priorities[i], b.maxAttempts[i] = j.Name, j.Priority, int64(j.MaxAttempts)
		b.delays[i], b.expires[i], b.flags[i] = j.Delay.Microseconds(), j.Expires.Microseconds(), int64(flagsOf(j))
		if j.Expires > 0 {
			b.expires[i] = max(b.expires[i], 1)
		}
		b.uniques[i], b.serials[i] = j.Unique.Key, j.Serial
		b.payloads[i], b.metadata[i], b.places[i] = int64(len(j.Payload)), int64(len(j.Metadata)), int64(len(b.blob)+1)
		b.blob = append(append(b.blob, j.Payload...), j.Metadata...)
	}
	return b
}

// waiting returns the state in which an unblocked job starts.
func waiting(j *backend.NewJob) backend.State {
	if j.Delay > 0 {
		return backend.Scheduled
	}
	return backend.Pending
}

func flagsOf(j *backend.NewJob) (f flag) {
	if j.Unique.Key != "" {
		f |= flagUnique
		if j.Unique.Scope == backend.UntilStarted {
			f |= flagUntilStarted
		}
	}
	if j.Serial != "" {
		f |= flagSerial
	}
	return f
}

const (
	// They cut a row's bytes out of the batch's bytes.
	cutPayload  = `substring($11::bytea FROM v.place FOR v.payload)`
	cutMetadata = `CASE WHEN v.metadata > 0 THEN substring($11::bytea FROM v.place + v.payload FOR v.metadata) END`

	// The IDs ascend in the order of the batch, which is sorted before they are
	// drawn. One more row is the clock, negated. The session's synchronous_commit
	// changes only if it is too weak, or should be weak.
	insertPlain = `
		WITH commit AS MATERIALIZED (
			SELECT count(CASE
				WHEN NOT $12::boolean THEN set_config('synchronous_commit', 'off', true)
				WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END) AS n),
		clock AS MATERIALIZED (SELECT plainjobs.now_us() AS now FROM commit WHERE n >= 0),
		added AS (
			INSERT INTO plainjobs.jobs (name, state, priority, max_attempts, created_at, run_at, finished_at, expires_at, flags, metadata, payload)
			SELECT v.name, v.state, v.priority, v.max_attempts, clock.now, clock.now + v.delay, clock.now,
				CASE WHEN v.expires > 0 THEN clock.now + v.expires END, v.flags, ` + cutMetadata + `, ` + cutPayload + `
			FROM clock, unnest($1::text::text[], $2::text::smallint[], $3::text::smallint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
				$7::text::integer[], $8::text::integer[], $9::text::integer[], $10::text::integer[]) WITH ORDINALITY
				AS v(name, state, priority, max_attempts, delay, expires, flags, payload, metadata, place, n)
			ORDER BY v.n
			RETURNING id, name, state),
		counted AS (INSERT INTO plainjobs.changes (name, state, jobs) SELECT name, state, count(*) FROM added GROUP BY name, state)
		SELECT id FROM added UNION ALL SELECT -now FROM clock`
)

// insertPlain stores jobs that need only their rows, and counts them. It sets how
// durably the transaction commits.
func (t *tx) insertPlain(jobs []backend.NewJob, durable bool) ([]int64, error) {
	states := make([]backend.State, len(jobs))
	for i := range jobs {
		states[i] = waiting(&jobs[i])
	}
	b := newBatch(jobs, states)
	ids, now := make([]int64, 0, len(jobs)), int64(0)
	err := t.each(insertPlain, []any{textArray(b.names), intArray(b.states), intArray(b.priorities), intArray(b.maxAttempts), intArray(b.delays),
		intArray(b.expires), intArray(b.flags), intArray(b.payloads), intArray(b.metadata), intArray(b.places), b.blob, durable}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		if id < 0 {
			now = -id
		} else {
			ids = append(ids, id)
		}
		return err
	})
	if err == nil && len(ids) != len(jobs) {
		err = fmt.Errorf("%w: %d jobs were inserted, but %d IDs returned", backend.ErrCorrupt, len(jobs), len(ids))
	}
	slices.Sort(ids)
	t.b.fold.due.Add(1)
	t.wakes = true
	if err == nil {
		t.ready(now)
	}
	return ids, err
}

const (
	drawIDs = `SELECT nextval('plainjobs.jobs_id_seq') FROM generate_series(1, $1::bigint)`

	insertJobs = `
		INSERT INTO plainjobs.jobs (id, name, state, priority, max_attempts, created_at, run_at, finished_at, expires_at, flags,
			unique_key, serial_key, metadata, payload)
		OVERRIDING SYSTEM VALUE
		SELECT v.id, v.name, v.state, v.priority, v.max_attempts, $12::bigint, $12::bigint + v.delay, $12::bigint,
			CASE WHEN v.expires > 0 THEN $12::bigint + v.expires END, v.flags, nullif(v.unique_key, ''), nullif(v.serial_key, ''),
			` + cutMetadata + `, ` + cutPayload + `
		FROM unnest($1::text::text[], $2::text::smallint[], $3::text::smallint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
			$7::text::integer[], $8::text::integer[], $9::text::integer[], $10::text::integer[], $13::text::bigint[], $14::text::text[],
			$15::text::text[])
			AS v(name, state, priority, max_attempts, delay, expires, flags, payload, metadata, place, id, unique_key, serial_key)`

	// The gate's lock serializes transactions that must know how many jobs wait.
	lockGates = `
		INSERT INTO plainjobs.gates AS g (name) SELECT v.name FROM unnest($1::text::text[]) AS v(name) ORDER BY v.name COLLATE "C"
		ON CONFLICT (name) DO UPDATE SET name = g.name WHERE false`

	updateReplaced = `
		UPDATE plainjobs.jobs SET state = $2::smallint, priority = $3::smallint, run_at = $4::bigint, expires_at = nullif($5::bigint, 0),
			metadata = $6::bytea, payload = $7::bytea
		WHERE id = $1::bigint`
)

// A push is the jobs of one Push call while they are stored.
type push struct {
	t    *tx
	jobs []backend.NewJob // as they will be stored: later jobs of the batch may replace earlier ones
	now  int64
	ids  []int64 // drawn before the jobs are stored, because keys refer to them

	first    map[nameKey]int   // by unique key, the first job of the batch with it
	holders  map[nameKey]int64 // by unique key, the stored job that holds it
	replaced map[int64]*row    // stored jobs that Replace may change, locked
	waits    map[string]int64  // by bounded name, the number of waiting jobs

	added  []int // indexes in jobs
	change []int
	pushed []backend.Pushed
}

// push stores all jobs, or none. It locks in the order of all other transactions:
// jobs, unique keys, serial keys.
func (t *tx) push(jobs []backend.NewJob) ([]backend.Pushed, error) {
	p := &push{t: t, jobs: slices.Clone(jobs), pushed: make([]backend.Pushed, len(jobs))}
	var err error
	if p.now, err = t.now(); err != nil {
		return nil, err
	}
	if p.jobs, err = backend.CountFrom(p.jobs, instant(p.now)); err != nil {
		return nil, rejected{err}
	}
	err = t.each(drawIDs, []any{len(jobs)}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		p.ids = append(p.ids, id)
		return err
	})
	for _, step := range []func() error{p.lockReplaced, p.takeKeys, p.closeGates, p.decide, p.store, p.replace} {
		if err == nil {
			err = step()
		}
	}
	return p.pushed, err
}

// lockReplaced locks the jobs that Replace may change, before their keys.
func (p *push) lockReplaced() error {
	keys := map[nameKey]bool{}
	for i := range p.jobs {
		if j := &p.jobs[i]; j.Unique.Conflict == backend.Replace {
			keys[nameKey{j.Name, j.Unique.Key}] = true
		}
	}
	if len(keys) == 0 {
		return nil
	}
	list := make([]nameKey, 0, len(keys))
	for k := range keys {
		list = append(list, k)
	}
	holders, err := p.t.holders(list, p.now)
	if err != nil || len(holders) == 0 {
		return err
	}
	p.replaced, err = p.t.lock(slices.Collect(maps.Values(holders)))
	return err
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
	p.holders, err = p.t.take(wanted, p.now)
	return err
}

// closeGates locks the gates of the batch's bounded names, and counts their waiting
// jobs.
func (p *push) closeGates() error {
	bounded := map[string]bool{}
	for i := range p.jobs {
		if p.jobs[i].MaxPending > 0 {
			bounded[p.jobs[i].Name] = true
		}
	}
	if len(bounded) == 0 {
		return nil
	}
	names := sorted(bounded)
	if _, err := p.t.exec(lockGates, textArray(names)); err != nil {
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
		states[n] = waiting(j)
		if j.Serial != "" {
			k := nameKey{j.Name, j.Serial}
			if _, ok := heads[k]; ok {
				states[n] = backend.Blocked
			} else {
				heads[k] = p.ids[i]
			}
		}
	}
	blocked, err := p.t.queueUp(heads)
	if err != nil {
		return err
	}
	for n, i := range p.added {
		if j := &p.jobs[i]; blocked[nameKey{j.Name, j.Serial}] {
			states[n] = backend.Blocked
		}
		p.t.count(p.jobs[i].Name, states[n], 1)
		if states[n] == backend.Pending {
			p.t.ready(p.now)
		}
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

func (p *push) insert(places []int, states []backend.State) error {
	jobs, ids := make([]backend.NewJob, len(places)), make([]int64, len(places))
	for n, i := range places {
		jobs[n], ids[n] = p.jobs[i], p.ids[i]
	}
	b := newBatch(jobs, states)
	_, err := p.t.exec(insertJobs, textArray(b.names), intArray(b.states), intArray(b.priorities), intArray(b.maxAttempts), intArray(b.delays),
		intArray(b.expires), intArray(b.flags), intArray(b.payloads), intArray(b.metadata), intArray(b.places), b.blob, p.now, intArray(ids),
		textArray(b.uniques), textArray(b.serials))
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
		r.Job = r.Replace(j, p.now)
		_, err := p.t.exec(updateReplaced, r.id, int64(r.State), int64(r.Priority), r.RunAt, r.ExpiresAt, metadata, payload)
		if err != nil {
			return err
		}
		p.t.move(r.name, was, r.State, 1)
		if r.State == backend.Pending {
			p.t.ready(r.RunAt)
		}
	}
	return nil
}

// PushTx implements [backend.TxPusher]. A concurrent push of a unique key that this
// transaction holds waits until the transaction ends. In a REPEATABLE READ or
// SERIALIZABLE transaction, a key that changed since the transaction began is a
// serialization error, and MaxPending counts the jobs that waited at its begin.
func (b *Backend) PushTx(ctx context.Context, caller *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := check(jobs); err != nil {
		return nil, fmt.Errorf("postgres: push in transaction: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	var pushed []backend.Pushed
	err := b.within(ctx, caller, "push in transaction", func(t *tx) (err error) {
		pushed, err = t.push(jobs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pushed, nil
}
