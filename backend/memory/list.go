package memory

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// maxLook bounds how many jobs a page examines.
const maxLook = 20_000

// pageOf calls take for the jobs below before that match f, newest first, until it has
// returned true limit times. It returns the before of the next page, or zero if there
// is none.
func (b *Backend) pageOf(f *backend.Filter, before int64, limit int, take func(*job) bool) (next int64) {
	looked, taken := 0, 0
	now := b.now()
	for j := range b.below(f, cmp.Or(before, math.MaxInt64)) {
		if taken == limit || looked == maxLook {
			return next
		}
		next = j.id
		looked++
		if j.matches(f, now) && take(j) {
			taken++
		}
	}
	return 0
}

// below yields the jobs below before, newest first, or those that f names.
func (b *Backend) below(f *backend.Filter, before int64) iter.Seq[*job] {
	if f.IDs == nil {
		return b.jobs.below(before)
	}
	ids := slices.Compact(slices.Sorted(slices.Values(f.IDs)))
	return func(yield func(*job) bool) {
		for _, id := range slices.Backward(ids) {
			if j := b.jobs.get(id); j != nil && id < before && !yield(j) {
				return
			}
		}
	}
}

// matches reports whether f selects j. It ignores the filter's IDs, which below checks.
func (j *job) matches(f *backend.Filter, now int64) bool {
	if f.HasKey && j.unique(now) == nil {
		return false
	}
	rest := *f
	rest.IDs, rest.HasKey = nil, false
	info := backend.Info{
		Name: j.name.text, State: j.State, CreatedAt: lifecycle.Time(j.created), FinishedAt: lifecycle.Time(j.FinishedAt), Errors: j.errors(),
	}
	if j.more != nil {
		info.UniqueKey, info.SerialKey, info.FairKey, info.Metadata = j.more.unique, j.more.serial, j.more.fair, j.more.metadata
		if g := j.more.gating; g != nil {
			info.Gating = &g.Gating
		}
	}
	return lifecycle.Matches(rest, &info)
}

// Get implements [backend.Reader].
func (b *Backend) Get(ctx context.Context, id int64) (backend.Info, error) {
	if err := b.enter(ctx, "get"); err != nil {
		return backend.Info{}, err
	}
	defer b.mu.Unlock()
	j := b.jobs.get(id)
	if j == nil {
		return backend.Info{}, fmt.Errorf("memory: get %d: %w", id, backend.ErrNotFound)
	}
	info := b.info(j, b.now())
	j.showData(&info)
	info.Errors = slices.Clone(j.errors())
	if j.more != nil {
		info.Result, info.Logs = slices.Clone(j.more.result), lifecycle.Logs(j.more.logs)
	}
	return info, nil
}

// List implements [backend.Reader].
func (b *Backend) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := check.List(req)
	if err != nil {
		return backend.Page{}, fmt.Errorf("memory: list: %w", err)
	}
	if err := b.enter(ctx, "list"); err != nil {
		return backend.Page{}, err
	}
	defer b.mu.Unlock()
	var page backend.Page
	page.Next = b.pageOf(&req.Filter, req.Before, limit, func(j *job) bool {
		info := b.info(j, b.now())
		if req.Payloads {
			j.showData(&info)
		}
		if all := j.errors(); req.LastError && len(all) > 0 {
			info.Errors = slices.Clone(all[len(all)-1:])
		}
		page.Jobs = append(page.Jobs, info)
		return true
	})
	return page, nil
}

// Count implements [backend.Reader].
func (b *Backend) Count(ctx context.Context) ([]backend.Count, error) {
	if err := b.enter(ctx, "count"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	var counts []backend.Count
	for _, name := range slices.Sorted(maps.Keys(b.names)) {
		for _, state := range backend.States() {
			if n := b.names[name].counts[state]; n > 0 {
				counts = append(counts, backend.Count{Name: name, State: state, Jobs: n})
			}
		}
	}
	return counts, nil
}

// Workers implements [backend.Reader].
func (b *Backend) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	if err := b.enter(ctx, "workers"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	rows := slices.SortedFunc(maps.Values(b.workers), func(a, c *worker) int {
		return cmp.Or(cmp.Compare(a.started, c.started), cmp.Compare(a.ID, c.ID))
	})
	infos := make([]backend.WorkerInfo, len(rows))
	for i, w := range rows {
		infos[i] = backend.WorkerInfo{
			Worker:    w.Worker,
			StartedAt: lifecycle.Time(w.started),
			SeenAt:    lifecycle.Time(w.seen),
			Alive:     w.alive(now),
			Running:   int64(len(w.held)),
			Stuck:     slices.Clone(w.stuck),
		}
		infos[i].Jobs, infos[i].Schedules = slices.Clone(w.Jobs), slices.Clone(w.Schedules)
	}
	return infos, nil
}
