package postgres

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
)

// Rows that the application has locked are skipped: a start time is not worth waiting
// for.
const updateStarted = `
	WITH v AS (
		SELECT j.id, v.took
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[]) AS v(id, token, took)
		JOIN plainjobs.job j ON j.id = v.id AND j.seed = v.token - v.id AND j.state = 3
		ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
	UPDATE plainjobs.job j SET started_at = plainjobs.now_micros() - v.took, started_seed = j.seed FROM v WHERE j.id = v.id`

// A runTimes is how long some runs have run.
type runTimes struct{ ids, tokens, tooks []int64 }

// add adds a run, unless its time is unknown.
func (t *runTimes) add(s backend.Started) {
	if s.For > 0 && s.Token != 0 {
		t.ids, t.tokens, t.tooks = append(t.ids, s.ID), append(t.tokens, s.Token), append(t.tooks, s.For.Microseconds())
	}
}

// args returns the arguments of updateStarted.
func (t *runTimes) args() []any { return []any{intArray(t.ids), intArray(t.tokens), intArray(t.tooks)} }

// ran stores how long runs have run.
func (t *tx) ran(times runTimes) error {
	if len(times.ids) == 0 {
		return nil
	}
	_, err := t.exec(updateStarted, times.args()...)
	return err
}

// ran is tx.ran in its own transaction.
func (b *Backend) ran(ctx context.Context, times runTimes) error {
	if len(times.ids) == 0 {
		return nil
	}
	return b.transact(ctx, false, func(t *tx) error { return t.ran(times) })
}
