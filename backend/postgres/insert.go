package postgres

import (
	"database/sql"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

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
	if j.Fair != "" {
		f |= flagFair
	}
	if g := j.Gating; g != nil {
		if len(g.Gates) > 0 {
			f |= flagMember
		}
		if g.Gate != 0 {
			f |= flagWaiter | flagBehind
		}
	}
	return f
}

const (
	// They cut a row's bytes out of the batch's bytes.
	cutPayload  = `substring($11::bytea FROM v.place FOR v.payload)`
	cutMetadata = `CASE WHEN v.metadata > 0 THEN substring($11::bytea FROM v.place + v.payload FOR v.metadata) END`

	// The IDs ascend in the order of the batch, which is sorted before they are
	// drawn. $13 is the seed for IDs above $14, and $15 the one for others. The
	// session's synchronous_commit changes only if it is too weak, or should be weak.
	insertPlain = `
		WITH commit AS MATERIALIZED (
			SELECT count(CASE
				WHEN NOT $12::boolean THEN set_config('synchronous_commit', 'off', true)
				WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END) AS n),
		clock AS MATERIALIZED (SELECT plainjobs.now_micros() AS now FROM commit WHERE n >= 0),
		added AS (
			INSERT INTO plainjobs.job (id, seed, name, state, priority, max_attempts, created_at, run_at, finished_at, expires_at, flags, metadata, payload)
			OVERRIDING SYSTEM VALUE
			SELECT v.id, CASE WHEN v.id > $14::bigint THEN $13::bigint ELSE $15::bigint END, v.name, v.state, v.priority, v.max_attempts, clock.now, clock.now + v.delay, clock.now,
				CASE WHEN v.expires > 0 THEN clock.now + v.expires END, v.flags, ` + cutMetadata + `, ` + cutPayload + `
			FROM clock, (
				SELECT nextval('plainjobs.job_id_seq') AS id, s.* FROM (
					SELECT * FROM unnest($1::text::text[], $2::text::smallint[], $3::text::smallint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
						$7::text::integer[], $8::text::integer[], $9::text::integer[], $10::text::integer[]) WITH ORDINALITY
						AS v(name, state, priority, max_attempts, delay, expires, flags, payload, metadata, place, n)
					ORDER BY v.n) s) v
			RETURNING id, name, suspect, priority, run_at, state),
		spans AS (` + insertSpans + `),
		counted AS (INSERT INTO plainjobs.count_change (name, state, jobs) SELECT name, state, count(*) FROM added GROUP BY name, state)
		SELECT id FROM added`
)

// insertPlain stores jobs that need only their rows, and counts them. It sets how
// durably the transaction commits.
func (t *tx) insertPlain(jobs []backend.NewJob, durable bool) ([]int64, error) {
	states := make([]backend.State, len(jobs))
	for i := range jobs {
		states[i] = waiting(&jobs[i])
	}
	b := newBatch(jobs, states)
	ids := make([]int64, 0, len(jobs))
	seed, greatest := t.b.seeds.use()
	err := t.each(insertPlain, []any{textArray(b.names), intArray(b.states), intArray(b.priorities), intArray(b.maxAttempts), intArray(b.delays),
		intArray(b.expires), intArray(b.flags), intArray(b.payloads), intArray(b.metadata), intArray(b.places), b.blob, durable,
		seed, greatest, newSeed()}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err == nil && len(ids) != len(jobs) {
		err = fmt.Errorf("%w: %d jobs were inserted, but %d IDs returned", backend.ErrCorrupt, len(jobs), len(ids))
	}
	slices.Sort(ids)
	t.b.compactor.due.Add(1)
	t.wakes = true
	if err != nil {
		t.b.seeds.drop(seed)
		return nil, err
	}
	t.b.seeds.used(seed, ids[len(ids)-1])
	t.lowest = min(t.lowest, -int64(slices.Max(b.priorities)))
	return ids, nil
}
