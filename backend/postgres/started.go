package postgres

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
)

// Jobs are looked up by id: state + 0 is in no index; see function complete. What
// the application has locked is passed over: that it started is no reason to wait.
const updateTold = `
	WITH v AS (
		SELECT j.id, v.took
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[]) AS v(id, token, took)
		JOIN plainjobs.jobs j ON j.id = v.id AND j.token = v.token AND j.state + 0 = 4
		ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
	UPDATE plainjobs.jobs j SET started_at = plainjobs.now_us() - v.took, started_token = j.token FROM v WHERE j.id = v.id`

// A told is what is known of how long runs have run.
type told struct{ ids, tokens, tooks []int64 }

// add adds a run, unless nothing is told of it.
func (t *told) add(s backend.Started) {
	if s.For > 0 && s.Token != 0 {
		t.ids, t.tokens, t.tooks = append(t.ids, s.ID), append(t.tokens, s.Token), append(t.tooks, s.For.Microseconds())
	}
}

// args returns the arguments of updateTold.
func (t *told) args() []any { return []any{intArray(t.ids), intArray(t.tokens), intArray(t.tooks)} }

// ran notes for how long runs have run.
func (t *tx) ran(told told) error {
	if len(told.ids) == 0 {
		return nil
	}
	_, err := t.exec(updateTold, told.args()...)
	return err
}

// ran is tx.ran in a transaction of its own.
func (b *Backend) ran(ctx context.Context, told told) error {
	if len(told.ids) == 0 {
		return nil
	}
	return b.transact(ctx, false, func(t *tx) error { return t.ran(told) })
}
