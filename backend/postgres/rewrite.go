package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	rewritePayload = `UPDATE plainjobs.job SET payload = $1::bytea WHERE id = $2::bigint AND payload = $3::bytea AND flags & 1048576 = 0`
	rewriteResult  = `UPDATE plainjobs.job_result SET result = $1::bytea WHERE job = $2::bigint AND result = $3::bytea`
	rewriteStep    = `UPDATE plainjobs.job_step SET result = $1::bytea WHERE job = $2::bigint AND result = $3::bytea AND name = $4::text`
)

// rewrite is Operate of [backend.OpRewrite].
func (b *Backend) rewrite(ctx context.Context, all []backend.Rewrite) (result backend.OperateResult, err error) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b backend.Rewrite) int { return cmp.Compare(a.Job, b.Job) }) // rows are locked in ID order, like everywhere
	err = b.write(ctx, "operate", b.durable(), func(t *tx) error {
		result = backend.OperateResult{}
		for _, w := range all {
			query, args := rewritePayload, []any{notNil(w.New), w.Job, notNil(w.Old)}
			switch w.Part {
			case backend.PartResult:
				query = rewriteResult
			case backend.PartStep:
				query, args = rewriteStep, append(args, w.Step)
			}
			n, err := t.execN(query, args...)
			if err != nil {
				return err
			}
			if n > 0 {
				result.Affected = append(result.Affected, w.Job)
			}
		}
		return nil
	})
	result.Affected = slices.Compact(result.Affected)
	return result, err
}
