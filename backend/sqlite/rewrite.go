package sqlite

import (
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
	err = b.write(ctx, &request{op: "operate", firm: true, run: func(t *tx) error {
		return t.nested(func() error {
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
	}})
	slices.Sort(result.Affected)
	result.Affected = slices.Compact(result.Affected)
	return result, err
}
