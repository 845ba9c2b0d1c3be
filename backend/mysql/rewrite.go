package mysql

import (
	"cmp"
	"context"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	rewritePayload = `UPDATE plainjobs_job SET payload = ? WHERE id = ? AND payload = ? AND flags & 1048576 = 0`
	rewriteResult  = `UPDATE plainjobs_job_result SET result = ? WHERE job = ? AND result = ?`
	rewriteStep    = `UPDATE plainjobs_job_step SET result = ? WHERE job = ? AND result = ? AND name = ?`
)

// rewrite is Operate of [backend.OpRewrite].
func (b *Backend) rewrite(ctx context.Context, all []backend.Rewrite) (result backend.OperateResult, err error) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b backend.Rewrite) int { return cmp.Compare(a.Job, b.Job) }) // rows are locked in ID order, like everywhere
	err = b.write(ctx, "operate", func(t *tx) error {
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
