package mysql

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// Operate implements [backend.Operator].
func (b *Backend) Operate(ctx context.Context, req backend.OperateRequest) (result backend.OperateResult, err error) {
	if err := check.Operate(req); err != nil {
		return result, fmt.Errorf("mysql: operate: %w", err)
	}
	if req.Op == backend.OpRewrite {
		return b.rewrite(ctx, req.Rewrites)
	}
	var gates []int64
	err = b.write(ctx, "operate", func(t *tx) error {
		result, gates = backend.OperateResult{}, nil
		rows, next, err := t.matching(req)
		if err != nil {
			return err
		}
		result.Next = next
		err = t.operate(req, rows, &result)
		gates = t.gates.TakeFolds()
		return err
	})
	if err != nil {
		return backend.OperateResult{}, err
	}
	b.foldAfter(ctx, gates)
	slices.Sort(result.Affected)
	slices.Sort(result.Duplicates)
	slices.Sort(result.Dropped)
	return result, nil
}

// matching returns a page of matching jobs, locked, newest first.
func (t *tx) matching(req backend.OperateRequest) (rows []*row, next int64, err error) {
	limit := cmp.Or(req.Limit, 1000)
	f, err := t.b.filter(t.ctx, t, req.Filter, req.Before)
	if err != nil {
		return nil, 0, err
	}
	where, args := f.page(limit + 1)
	ids, err := t.ids(`SELECT j.id`+f.tables+` WHERE `+where, args...)
	if err != nil || len(ids) == 0 {
		return nil, f.from, err
	}
	next = f.from
	if len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	// Rows are locked in the order of their IDs, like everywhere, and must still match.
	if rows, err = t.lockAs(lockRows, ids); err != nil {
		return nil, 0, err
	}
	req.Filter.IDs = ids
	page, err := t.b.filterBelow(t.ctx, t, req.Filter, slices.Max(ids)+1)
	if err != nil {
		return nil, 0, err
	}
	still, err := t.ids(`SELECT j.id`+page.tables+` WHERE `+page.where, page.args...)
	if err != nil {
		return nil, 0, err
	}
	match := make(map[int64]bool, len(still))
	for _, id := range still {
		match[id] = true
	}
	rows = slices.DeleteFunc(rows, func(r *row) bool { return !match[r.id] })
	slices.Reverse(rows)
	return rows, next, t.findRunning(rows)
}

// operate applies an operation to the locked jobs whose states allow it.
func (t *tx) operate(req backend.OperateRequest, rows []*row, result *backend.OperateResult) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	op := req.Op
	if op == backend.OpCancel || op == backend.OpDelete || op == backend.OpPrioritize {
		pending := slices.DeleteFunc(slices.Clone(rows), func(r *row) bool { return len(req.Filter.States) > 0 && !slices.Contains(req.Filter.States, r.State) })
		if err := t.own(pending); err != nil {
			return err
		}
	}
	var affected, retried []*row
	free := map[int64]bool{}
	if op == backend.OpFree {
		if free, err = t.freeKept(rows, now); err != nil {
			return err
		}
	}
	var from map[int64]bool
	if req.FromStep != "" {
		if from, err = t.withStep(rows, req.FromStep); err != nil {
			return err
		}
	}
	for _, r := range rows {
		switch {
		case req.FromStep != "" && !from[r.id]:
			continue
		case len(req.Filter.States) > 0 && !slices.Contains(req.Filter.States, r.State): // it was claimed, or has come back, meanwhile
			continue
		case op == backend.OpFree && free[r.id]:
		case !r.Accepts(op):
			continue
		case op == backend.OpCancel:
			r.become(r.Cancel(now))
		case op == backend.OpRetry && r.Dropped:
			result.Dropped = append(result.Dropped, r.id)
			continue
		case op == backend.OpRetry && r.State.Terminal():
			retried = append(retried, r)
			continue
		case op == backend.OpPrioritize:
			r.Job = r.Prioritize(*req.Priority)
		case op == backend.OpRetry:
			r.Job = r.Retry(req.Priority, now)
		}
		affected = append(affected, r)
	}
	retried, err = t.renew(retried, req.Priority, now, result)
	if err != nil {
		return err
	}
	affected = append(affected, retried...)
	for _, r := range affected {
		result.Affected = append(result.Affected, r.id)
	}
	switch op {
	case backend.OpFree:
		return nil
	case backend.OpDelete:
		return t.deleteRows(affected, now)
	}
	if op == backend.OpRetry {
		if err := t.restart(affected, req.FromStep); err != nil {
			return err
		}
	}
	return t.write(affected)
}

// deleteRows deletes jobs and gives their unique keys back.
func (t *tx) deleteRows(rows []*row, now int64) error {
	var done []*row
	for _, r := range rows {
		if r.deleted = true; r.was.State.Terminal() {
			done = append(done, r)
		}
	}
	if err := t.releaseUnique(done, now); err != nil {
		return err
	}
	if err := t.countMembers(rows, goneOf); err != nil {
		return err
	}
	return t.remove(rows)
}

// renew makes finished jobs wait as if they were new, except jobs whose unique keys other jobs
// hold.
func (t *tx) renew(rows []*row, priority *int16, now int64, result *backend.OperateResult) (renewed []*row, err error) {
	wanted := map[nameKey]claimant{}
	for _, r := range rows {
		if k := (nameKey{r.name, r.unique}); r.flags&flagUnique != 0 {
			if _, ok := wanted[k]; !ok { // rows are newest first, and the newest gets the key
				wanted[k] = claimant{job: r.id}
			}
		}
	}
	var holders map[nameKey]int64
	if len(wanted) > 0 {
		if holders, err = t.acquireUnique(wanted, now); err != nil {
			return nil, err
		}
	}
	heads := map[nameKey]int64{}
	var ids []int64
	for _, r := range rows {
		if k := (nameKey{r.name, r.unique}); r.flags&flagUnique != 0 {
			if _, taken := holders[k]; taken || wanted[k].job != r.id {
				result.Duplicates = append(result.Duplicates, r.id)
				continue
			}
		}
		if r.flags&flagSerial != 0 {
			heads[nameKey{r.name, r.serial}] = r.id // the oldest comes last
		}
		renewed, ids = append(renewed, r), append(ids, r.id)
	}
	behind, err := t.queueUp(heads)
	if err != nil || len(renewed) == 0 {
		return nil, err
	}
	for _, r := range renewed {
		k := nameKey{r.name, r.serial}
		r.Job = r.Retry(priority, now)
		if r.flags&flagSerial != 0 && (behind[k] || heads[k] != r.id) {
			r.State = backend.Blocked
		}
	}
	for _, query := range []string{deleteResults, deleteProgress} {
		if err := t.later(query, valuesOf(ids)); err != nil {
			return nil, err
		}
	}
	return renewed, nil
}
