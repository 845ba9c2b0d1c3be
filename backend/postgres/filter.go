package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A condition selects jobs.
type condition struct {
	where string
	args  []any
	from  int64 // the ID at which the search stops, though there may be more jobs below it
}

// and returns c with another condition, in which %s stands for each parameter.
func (c condition) and(text string, args ...any) condition {
	places := make([]any, len(args))
	for i := range args {
		places[i] = fmt.Sprint("$", len(c.args)+1+i)
	}
	if c.where != "" {
		text = " AND " + text
	}
	return condition{c.where + fmt.Sprintf(text, places...), slices.Concat(c.args, args), c.from}
}

// page returns the end of a query for limit jobs, and all parameters.
func (c condition) page(limit int) (where string, args []any) { return c.pageOf("j.id", limit) }

func (c condition) pageOf(column string, limit int) (where string, args []any) {
	args = append(slices.Clone(c.args), limit)
	return c.where + fmt.Sprintf(` ORDER BY %s DESC LIMIT $%d::bigint`, column, len(args)), args
}

// filter returns the condition for a page of jobs below an ID; 0 is no bound.
func (b *Backend) filter(ctx context.Context, q querier, f backend.Filter, before int64) (condition, error) {
	number := func(query string, args ...any) (n int64, err error) {
		err = b.scan(ctx, q, query, args, func(r *sql.Rows) error { return r.Scan(&n) })
		return n, err
	}
	newest, err := number(selectNewest)
	if err != nil {
		return condition{}, err
	}
	if before == 0 || before > newest {
		before = newest + 1
	}
	if f.Gate != 0 && f.IDs == nil {
		// A page reads as many members as it reads of all jobs in other cases.
		from, err := number(selectMemberWindow, f.Gate, before, listWindow)
		c := filterBelow(f, before).and(`j.id IN (SELECT m.job FROM plainjobs.gate_member m WHERE m.gate = %s::bigint AND m.job >= %s::bigint AND m.job < %s::bigint)`,
			f.Gate, from, before)
		c.from = from
		return c, err
	}
	if f.Behind == 0 && f.IDs == nil && endedOnly(f) && len(slices.Compact(slices.Sorted(slices.Values(f.States)))) == 2 {
		from, err := number(selectEndedWindow, before, listWindow)
		if err != nil {
			return condition{}, err
		}
		c := condition{from: from}.and(`j.id = ANY(ARRAY(
			SELECT x.id FROM plainjobs.job x WHERE x.state = 6 AND x.id >= %s::bigint AND x.id < %s::bigint
			UNION ALL SELECT x.id FROM plainjobs.job x WHERE x.state = 7 AND x.id >= %s::bigint AND x.id < %s::bigint))`, from, before, from, before)
		return c.matching(f), nil
	}
	return filterBelow(f, before), nil
}

// endedOnly reports whether f selects failed or cancelled jobs alone, of which there is an
// index.
func endedOnly(f backend.Filter) bool {
	return len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s backend.State) bool { return s != backend.Failed && s != backend.Cancelled })
}

// only reports whether f selects jobs in a state alone.
func only(f backend.Filter, state backend.State) bool {
	return len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s backend.State) bool { return s != state })
}

// filterBelow is filter for an ID that is not zero.
func filterBelow(f backend.Filter, before int64) condition {
	c := condition{}.and(`j.id < %s::bigint`, before)
	indexed := (only(f, backend.Failed) || only(f, backend.Cancelled)) && f.Key == "" && f.Error == "" && len(f.Metadata) == 0
	switch {
	case f.IDs != nil:
		c = c.and(`j.id = ANY(%s::text::bigint[])`, intArray(f.IDs))
	case f.Gate != 0 || f.Behind != 0:
	case indexed, only(f, backend.Running):
	default:
		c.from = max(0, before-listWindow)
		c = c.and(`j.id >= %s::bigint`, c.from)
		if f.Error != "" { // few jobs of a window have an error
			c = c.and(`j.id = ANY(ARRAY(SELECT e.job FROM plainjobs.job_error e
				WHERE e.job >= %s::bigint AND e.job < %s::bigint AND strpos(e.error, %s::text) > 0))`, c.from, before, f.Error)
		}
	}
	return c.inStates(f.States).matching(f)
}

// inStates returns c for jobs in one of the states.
func (c condition) inStates(states []backend.State) condition {
	f := backend.Filter{States: states}
	switch {
	case len(states) == 0:
		return c
	case only(f, backend.Running):
		return c.and(`j.state = 3 AND j.id = ANY(ARRAY(
			SELECT x.id FROM plainjobs.claim h CROSS JOIN LATERAL (SELECT r.id FROM ` + claimedJobs + `) x))`)
	case only(f, backend.Pending):
		return c.and(`j.state = 3 AND NOT ` + isRunning)
	case only(f, states[0]): // a literal, so that partial indexes apply
		return c.and(fmt.Sprintf(`j.state = %d`, states[0]))
	}
	return c.and(`CASE WHEN `+isRunning+` THEN 4::smallint ELSE j.state END = ANY(%s::text::smallint[])`, intArray(states))
}

// matching returns c with the conditions of f that are neither IDs nor states.
func (c condition) matching(f backend.Filter) condition {
	switch {
	case len(f.Names) == 1:
		c = c.and(`j.name = %s::text`, f.Names[0])
	case len(f.Names) > 1:
		c = c.and(`j.name = ANY(%s::text::text[])`, textArray(f.Names))
	}
	if f.Gate != 0 && f.IDs != nil {
		c = c.and(`EXISTS (SELECT 1 FROM plainjobs.gate_member m WHERE m.job = j.id AND m.gate = %s::bigint)`, f.Gate)
	}
	if f.Behind != 0 {
		c = c.and(`j.id IN (SELECT w.job FROM plainjobs.gate_waiter w WHERE w.gate = %s::bigint)`, f.Behind)
	}
	if len(f.Metadata) > 0 {
		pairs, _ := json.Marshal(f.Metadata) // strings encode
		c = c.and(`j.metadata IS NOT NULL AND plainjobs.as_json(j.metadata) @> %s::text::jsonb`, string(pairs))
	}
	if f.Key != "" {
		c = c.and(`(j.unique_key = %s::text OR j.serial_key = %s::text OR j.flags & 16384 <> 0 AND EXISTS (
			SELECT 1 FROM plainjobs.job_fair f WHERE f.job = j.id AND f.key = %s::text))`, f.Key, f.Key, f.Key)
	}
	if f.HasKey {
		c = c.and(`EXISTS (SELECT 1 FROM plainjobs.unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id
			AND (k.held OR k.until > plainjobs.now_micros()))`)
	}
	if f.Error != "" {
		c = c.and(`strpos((SELECT e.error FROM plainjobs.job_error e WHERE e.job = j.id ORDER BY e.id DESC LIMIT 1), %s::text) > 0`, f.Error)
	}
	if !f.Since.IsZero() {
		c = c.and(`j.finished_at >= %s::bigint`, ceilMicro(f.Since))
	}
	if !f.Until.IsZero() {
		c = c.and(`j.finished_at < %s::bigint`, ceilMicro(f.Until))
	}
	return c
}

// ceilMicro returns t in microseconds, rounded up.
func ceilMicro(t time.Time) int64 {
	micros := t.UnixMicro()
	if time.UnixMicro(micros).Before(t) {
		micros++
	}
	return micros
}
