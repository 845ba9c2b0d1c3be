package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// State derived from the jobs changes in the transactions that change the jobs. A statement
// outside the store that deletes jobs or changes their states leaves it behind: a count then
// shows a running job forever, or jobs wait for a head that does not exist.

// A drift lists where derived state differs from the jobs.
type drift struct {
	counts   map[countKey]int64 // by how much counts are too small
	heads    []nameKey          // serial keys whose heads are deleted, finished or of another key,
	headsOf  []int64            // and the IDs of these heads
	blocked  []int64            // blocked jobs whose key has no head, one for each key
	strays   []int64            // jobs that are neither blocked nor the head of their serial key
	keys     []nameKey          // unique keys of jobs that are deleted or no longer have them,
	keysOf   []int64            // and the IDs of these jobs
	keyless  []int64            // waiting jobs without their unique keys
	spans    []span             // spans that have other jobs than pending ones
	unready  []int64            // pending jobs in no span
	left     [places]values     // places that jobs do not have,
	placed   []int64            // and jobs that lack one or have another
	orphans  []int64            // deleted jobs whose errors, results, progress or steps remain
	gates    []int64            // gates that count other members than there are
	stranded []int64            // jobs that wait behind a gate in vain
	behind   bool               // the next ID is not above the jobs
}

// maxDrift bounds how many rows of each kind but counts one search finds.
const maxDrift = 1000

const (
	selectLostHeads = `
		SELECT s.name, s.key_text, s.job FROM plainjobs_serial_head s LEFT JOIN plainjobs_job j ON j.id = s.job
		WHERE j.id IS NULL OR j.state NOT IN (1, 3) OR j.name <> s.name OR NOT (j.serial_key <=> s.key_text) LIMIT ?`

	selectHeadless = `
		SELECT MIN(j.id) FROM plainjobs_blocked b STRAIGHT_JOIN plainjobs_job j ON j.id = b.job
		WHERE j.state = 2 AND b.key_text <> X'00' AND NOT EXISTS (SELECT 1 FROM plainjobs_serial_head s WHERE s.name = b.name AND s.key_text = b.key_text)
		GROUP BY b.name, b.key_text LIMIT ?`

	// Running jobs come first, then the oldest.
	selectStrays = `
		SELECT j.id FROM plainjobs_job j WHERE j.state IN (1, 3) AND j.serial_key IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM plainjobs_serial_head s WHERE s.name = j.name AND s.key_text = j.serial_key AND s.job = j.id)
		ORDER BY ` + isRunning + ` DESC, j.id LIMIT ?`

	selectLostKeys = `
		SELECT k.name, k.key_text, k.job FROM plainjobs_unique_key k LEFT JOIN plainjobs_job j ON j.id = k.job
		WHERE j.id IS NULL OR j.name <> k.name OR NOT (j.unique_key <=> k.key_text) OR j.state = 7
			OR k.held = 1 AND (j.state >= 5 OR j.flags & 2 <> 0 AND ` + isRunning + `) LIMIT ?`

	// A finished job that was imported may have no key row, so held is compared. 6: it sleeps.
	selectKeyless = `
		SELECT j.id FROM plainjobs_job j WHERE j.state < 4 AND j.unique_key IS NOT NULL AND NOT (j.flags & 2 <> 0 AND (j.ending = 6 OR ` + isRunning + `))
			AND NOT EXISTS (SELECT 1 FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key_text = j.unique_key AND k.job = j.id AND k.held = 1)
		ORDER BY j.id LIMIT ?`

	selectOrphans = `
		SELECT o.job FROM (SELECT job FROM plainjobs_job_error UNION SELECT job FROM plainjobs_job_result UNION SELECT job FROM plainjobs_job_progress
			UNION SELECT job FROM plainjobs_job_step UNION SELECT job FROM plainjobs_signal_wait UNION SELECT job FROM plainjobs_job_fair
			UNION SELECT job FROM plainjobs_gate_member UNION SELECT job FROM plainjobs_gate_waiter) o
		WHERE NOT EXISTS (SELECT 1 FROM plainjobs_job j WHERE j.id = o.job) LIMIT ?`

	selectBehind = `
		SELECT COALESCE(MAX(id), 0) > (SELECT number FROM plainjobs_meta WHERE key_text = 'next_id') FROM plainjobs_job`

	selectOpen   = `SELECT id, name, suspect, priority, run_at, seed FROM plainjobs_job FORCE INDEX (PRIMARY) WHERE state = 3`
	selectSpans  = `SELECT name, suspect, prio, run_at, last, first FROM plainjobs_ready ORDER BY first`
	selectLeased = `SELECT seed, first, last FROM plainjobs_claim ORDER BY seed, first`
	countAll     = `SELECT name, state, COUNT(*) FROM plainjobs_job WHERE state <> 3 GROUP BY name, state`
	countWaiting = `
		SELECT j.name, j.state, COUNT(*) FROM (SELECT job FROM plainjobs_scheduled UNION ALL SELECT job FROM plainjobs_blocked) p
		STRAIGHT_JOIN plainjobs_job j ON j.id = p.job WHERE j.state < 3 GROUP BY j.name, j.state`
)

// blockedKey is the key of the place of a blocked job j; see behindKey.
const blockedKey = `IF(j.flags & 1024 <> 0, X'00', COALESCE(j.serial_key, ''))`

// Of each table of places: the places that no job has, and the jobs without their place.
var (
	strayPlaces = [places]string{
		scheduled: `SELECT p.run_at, p.job FROM plainjobs_scheduled p LEFT JOIN plainjobs_job j ON j.id = p.job
			WHERE j.id IS NULL OR j.state <> 1 OR j.run_at <> p.run_at LIMIT ?`,
		blocked: `SELECT p.name, p.key_text, p.job FROM plainjobs_blocked p LEFT JOIN plainjobs_job j ON j.id = p.job
			WHERE j.id IS NULL OR j.state <> 2 OR j.name <> p.name OR ` + blockedKey + ` <> p.key_text LIMIT ?`,
		expiring: `SELECT p.expires_at, p.job FROM plainjobs_expiring p LEFT JOIN plainjobs_job j ON j.id = p.job
			WHERE j.id IS NULL OR j.state > 3 OR NOT (j.expires_at <=> p.expires_at) LIMIT ?`,
		finished: `SELECT p.name, p.state, p.finished_at, p.job FROM plainjobs_finished p LEFT JOIN plainjobs_job j ON j.id = p.job
			WHERE j.id IS NULL OR j.state <> p.state OR j.name <> p.name OR j.finished_at <> p.finished_at LIMIT ?`,
		ended: `SELECT p.state, p.job FROM plainjobs_ended p LEFT JOIN plainjobs_job j ON j.id = p.job WHERE j.id IS NULL OR j.state <> p.state LIMIT ?`,
	}
	placeless = [places]string{
		scheduled: `SELECT j.id FROM plainjobs_job j LEFT JOIN plainjobs_scheduled p ON p.run_at = j.run_at AND p.job = j.id WHERE j.state = 1 AND p.job IS NULL LIMIT ?`,
		blocked: `SELECT j.id FROM plainjobs_job j LEFT JOIN plainjobs_blocked p ON p.name = j.name AND p.key_text = ` + blockedKey + ` AND p.job = j.id
			WHERE j.state = 2 AND p.job IS NULL LIMIT ?`,
		expiring: `SELECT j.id FROM plainjobs_job j LEFT JOIN plainjobs_expiring p ON p.expires_at = j.expires_at AND p.job = j.id
			WHERE j.state < 4 AND j.expires_at IS NOT NULL AND p.job IS NULL LIMIT ?`,
		finished: `SELECT j.id FROM plainjobs_job j LEFT JOIN plainjobs_finished p
			ON p.name = j.name AND p.state = j.state AND p.finished_at = j.finished_at AND p.job = j.id WHERE j.state >= 5 AND p.job IS NULL LIMIT ?`,
		ended: `SELECT j.id FROM plainjobs_job j LEFT JOIN plainjobs_ended p ON p.state = j.state AND p.job = j.id WHERE j.state > 5 AND p.job IS NULL LIMIT ?`,
	}
	// placeTexts are how many columns of each table, the first ones, have text.
	placeTexts   = [places]int{blocked: 2, finished: 1}
	placeColumns = [places]int{scheduled: 2, blocked: 3, expiring: 2, finished: 4, ended: 2}
)

// A survey compares derived state with the jobs, as of one moment.
type survey struct {
	b   *Backend
	ctx context.Context
	q   querier
	all bool // everything, not only the part that can keep jobs from being pushed or claimed
	d   drift
	err error
}

// drift compares derived state with the jobs: all of it, or only the part that can keep jobs
// from being pushed or claimed.
func (b *Backend) drift(ctx context.Context, all bool) (d drift, err error) {
	err = b.readAtOnce(ctx, "compare", func(q querier) error {
		d, err = b.survey(ctx, q, all)
		return err
	})
	return d, err
}

func (b *Backend) survey(ctx context.Context, q querier, all bool) (drift, error) {
	s := &survey{b: b, ctx: ctx, q: q, all: all}
	s.counts()
	s.pairs(selectLostHeads, &s.d.heads, &s.d.headsOf)
	s.ids(selectHeadless, &s.d.blocked)
	s.pairs(selectLostKeys, &s.d.keys, &s.d.keysOf)
	if all {
		s.ids(selectWrongGates, &s.d.gates)
	} else {
		s.ids(selectOwnWrongGates, &s.d.gates)
	}
	s.ids(selectStranded, &s.d.stranded)
	for p := range places {
		if all || p < finished {
			s.strays(p)
		}
	}
	if all {
		for p := range places {
			s.ids(placeless[p], &s.d.placed)
		}
		s.ids(selectStrays, &s.d.strays)
		s.ids(selectKeyless, &s.d.keyless)
		s.ids(selectOrphans, &s.d.orphans)
	}
	s.scan(selectBehind, nil, func(r *sql.Rows) error { return r.Scan(&s.d.behind) })
	return s.d, s.err
}

// scan runs a query unless an earlier one failed.
func (s *survey) scan(query string, args []any, row func(*sql.Rows) error) {
	if s.err == nil {
		s.err = s.b.scan(s.ctx, s.q, query, args, row)
	}
}

func (s *survey) ids(query string, into *[]int64) {
	s.scan(query, []any{maxDrift}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		*into = append(*into, id)
		return err
	})
}

func (s *survey) pairs(query string, keys *[]nameKey, ids *[]int64) {
	s.scan(query, []any{maxDrift}, func(r *sql.Rows) error {
		var k nameKey
		var id int64
		err := r.Scan(&k.name, &k.key, &id)
		*keys, *ids = append(*keys, k), append(*ids, id)
		return err
	})
}

// strays finds the rows of a table of places that no job has.
func (s *survey) strays(p place) {
	s.scan(strayPlaces[p], []any{maxDrift}, func(r *sql.Rows) error {
		texts, numbers := make([]string, placeTexts[p]), make([]int64, placeColumns[p]-placeTexts[p])
		var into, row []any
		for i := range texts {
			into = append(into, &texts[i])
		}
		for i := range numbers {
			into = append(into, &numbers[i])
		}
		err := r.Scan(into...)
		for _, text := range texts {
			row = append(row, text)
		}
		for _, n := range numbers {
			row = append(row, n)
		}
		s.d.left[p].add(row...)
		s.d.placed = append(s.d.placed, numbers[len(numbers)-1])
		return err
	})
}

// counts compares the counts and the spans with the jobs.
func (s *survey) counts() {
	have := map[countKey]int64{}
	count := func(r *sql.Rows) error {
		var k countKey
		var n int64
		err := r.Scan(&k.name, &k.state, &n)
		have[k] += n
		return err
	}
	if s.all {
		s.scan(countAll, nil, count)
	} else {
		s.scan(countWaiting, nil, count)
	}
	s.open(have)
	s.scan(`SELECT name, state, jobs FROM `+allCounts+` c`, nil, func(r *sql.Rows) error {
		var k countKey
		var n int64
		err := r.Scan(&k.name, &k.state, &n)
		if s.all || k.state <= backend.Running {
			have[k] -= n
		}
		return err
	})
	s.d.counts = map[countKey]int64{}
	for k, n := range have {
		if n != 0 {
			s.d.counts[k] = n
		}
	}
}

// An openJob is a job that is pending or running.
type openJob struct {
	span
	seed int64
}

// open counts pending and running jobs, and finds the spans and jobs that do not match.
func (s *survey) open(have map[countKey]int64) {
	var spans []span
	s.scan(selectSpans, nil, func(r *sql.Rows) error {
		var p span
		err := r.Scan(&p.name, &p.suspect, &p.prio, &p.runAt, &p.last, &p.first)
		spans = append(spans, p)
		return err
	})
	claims := map[int64][]span{} // by seed
	var leased []span
	s.scan(selectLeased, nil, func(r *sql.Rows) error {
		var seed int64
		var c span
		err := r.Scan(&seed, &c.first, &c.last)
		claims[seed] = append(claims[seed], c)
		leased = append(leased, c)
		return err
	})
	found := make([]int, len(spans)) // jobs of each span
	s.eachOpen(append(slices.Clone(spans), leased...), func(j openJob) {
		if slices.ContainsFunc(claims[j.seed], func(c span) bool { return c.first <= j.first && j.first <= c.last }) {
			have[countKey{j.name, backend.Running}]++
			return
		}
		at, exact := slices.BinarySearchFunc(spans, j.first, func(p span, id int64) int { return cmp.Compare(p.first, id) })
		if !exact {
			at--
		}
		if at >= 0 && j.first <= spans[at].last && spans[at].name == j.name && spans[at].suspect == j.suspect && spans[at].prio == j.prio && spans[at].runAt == j.runAt {
			found[at]++
		} else {
			s.d.unready = append(s.d.unready, j.first)
		}
		have[countKey{j.name, backend.Pending}]++
	})
	for i, n := range found {
		if n != spans[i].size() {
			s.d.spans = append(s.d.spans, spans[i])
		}
	}
	s.d.spans = s.d.spans[:min(len(s.d.spans), maxDrift)]
	s.d.unready = s.d.unready[:min(len(s.d.unready), maxDrift)]
}

// eachOpen calls f for each open job: for all of them, or for those in ranges of IDs.
func (s *survey) eachOpen(ranges []span, f func(openJob)) {
	row := func(r *sql.Rows) error {
		var j openJob
		err := r.Scan(&j.first, &j.name, &j.suspect, &j.prio, &j.runAt, &j.seed)
		j.prio = -j.prio
		f(j)
		return err
	}
	if s.all {
		s.scan(selectOpen, nil, row)
		return
	}
	slices.SortFunc(ranges, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var apart []span // ranges that overlap are one: each job is read once
	for _, r := range ranges {
		if n := len(apart); n > 0 && r.first <= apart[n-1].last+1 {
			apart[n-1].last = max(apart[n-1].last, r.last)
		} else {
			apart = append(apart, r)
		}
	}
	for part := range slices.Chunk(apart, maxRanges) {
		var args []any
		for _, r := range part {
			args = append(args, r.first, r.last)
		}
		s.scan(selectOpen+` AND (`+strings.Repeat(between+" OR ", len(part)-1)+between+`)`, args, row)
	}
}

// summary describes the differences. It is empty if there are none.
func (d *drift) summary() string {
	var parts []string
	left := len(d.placed)
	for _, kind := range []struct {
		n    int
		what string
	}{
		{len(d.counts), "counts"}, {len(d.heads) + len(d.blocked) + len(d.strays), "serial keys"}, {len(d.keys) + len(d.keyless), "unique keys"},
		{len(d.spans) + len(d.unready), "spans of pending jobs"}, {left, "places of jobs"},
		{len(d.gates) + len(d.stranded), "gates"},
		{len(d.orphans), "deleted jobs with errors, results or progress"},
	} {
		switch {
		case kind.n >= maxDrift:
			parts = append(parts, fmt.Sprintf("%d or more %s", kind.n, kind.what))
		case kind.n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", kind.n, kind.what))
		}
	}
	if d.behind {
		parts = append(parts, "the next ID, which is not above the jobs")
	}
	return strings.Join(parts, ", ")
}

// full reports whether a search reached maxDrift, so that there may be more.
func (d *drift) full() bool {
	return max(len(d.heads), len(d.blocked), len(d.strays), len(d.keys), len(d.keyless), len(d.orphans), len(d.spans), len(d.unready), len(d.placed), len(d.gates), len(d.stranded)) >= maxDrift
}
