package plainjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Need returns the result of the job j on which the handler's job depends in its [Flow]. It
// returns a [*JobError] if that job failed or was cancelled, which only [DependsOnEnd]
// allows. If the handler's job depends on no job j, or on several, Need returns an error; see
// [ResultJob.Needs].
func (j *ResultJob[T, R]) Need(ctx context.Context) (R, error) {
	var ids []int64
	for id, err := range j.needs(ctx) {
		if ids = append(ids, id); err != nil {
			var none R
			return none, err
		}
	}
	switch len(ids) {
	case 1:
		return j.needed(ctx, ids[0])
	case 0:
		var none R
		return none, fmt.Errorf("plainjobs: need: the handler's job depends on no job %s, or it was deleted", j.Name())
	}
	var none R
	return none, fmt.Errorf("plainjobs: need: the handler's job depends on %d jobs %s: use Needs", len(ids), j.Name())
}

// Needs returns the results of all jobs j on which the handler's job depends in its [Flow],
// in no particular order. It reads them page by page. For a job that failed or was cancelled
// the error is a [*JobError], and the iteration goes on. Any other error ends it.
//
// In a callback of a [Group], Needs returns the results of those members that are stored. Only
// a flow keeps them.
func (j *ResultJob[T, R]) Needs(ctx context.Context) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for id, err := range j.needs(ctx) {
			var r R
			if err == nil {
				r, err = j.needed(ctx, id)
			}
			var failed *JobError
			if !yield(r, err) || err != nil && !errors.As(err, &failed) {
				return
			}
		}
	}
}

// needs returns the IDs of the jobs j on which the handler's job depends.
func (j *ResultJob[T, R]) needs(ctx context.Context) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		fail := func(err error) { yield(0, fmt.Errorf("plainjobs: need: %w", err)) }
		i := engine.InfoOf(ctx)
		switch {
		case j == nil:
			fail(errors.New("the job is nil"))
			return
		case i == nil:
			fail(errors.New("outside of a handler"))
			return
		case engine.BatchOf(ctx) != nil:
			fail(errors.New("several jobs run together"))
			return
		case i.Job.Gating == nil || i.Job.Gating.Gate == 0:
			fail(fmt.Errorf("job %s #%d depends on no other", i.Job.Name, i.Job.ID))
			return
		}
		gates, err := gatesOfNeed(ctx, i)
		if err != nil {
			fail(err)
			return
		}
		reader, err := engine.Capability[backend.Reader](i.Queue.Backend)
		if err != nil {
			fail(err)
			return
		}
		names := append([]string{j.def.Name}, j.def.Aliases...)
		for _, gate := range gates {
			for before := int64(0); ; {
				page, err := reader.List(ctx, backend.ListRequest{Filter: backend.Filter{Gate: gate, Names: names}, Before: before})
				if err != nil {
					fail(err)
					return
				}
				for k := range page.Jobs {
					if !yield(page.Jobs[k].ID, nil) {
						return
					}
				}
				if before = page.Next; before == 0 {
					break
				}
			}
		}
	}
}

// gatesOfNeed returns the gates in which the jobs count on which a run's job depends.
func gatesOfNeed(ctx context.Context, i *engine.Info) ([]int64, error) {
	g := i.Job.Gating
	if !g.When.Needs() {
		return []int64{g.Gate}, nil
	}
	store, err := engine.Capability[backend.GateStore](i.Queue.Backend)
	if err != nil {
		return nil, err
	}
	need, err := engine.NeedOf(ctx, store, g.Gate)
	return need.Gates, err
}

// needed returns the result of a job that has ended.
func (j *ResultJob[T, R]) needed(ctx context.Context, id int64) (R, error) {
	var r R
	reader, err := engine.Capability[backend.Reader](engine.InfoOf(ctx).Queue.Backend)
	if err != nil {
		return r, fmt.Errorf("plainjobs: need: %w", err)
	}
	info, err := reader.Get(ctx, id)
	if err != nil {
		return r, fmt.Errorf("plainjobs: need: job %s #%d: %w", j.Name(), id, err)
	}
	return j.result("need", engine.InfoOf(ctx).Queue, &info)
}

// result returns the result of a job that has ended.
func (j *ResultJob[T, R]) result(op string, q *engine.Queue, info *backend.Info) (R, error) {
	var r R
	switch {
	case info.State != Done:
		e := &JobError{ID: info.ID, Name: info.Name, State: info.State}
		if n := len(info.Errors); n > 0 {
			e.Last = q.DecryptText(engine.KindError, info.Name, info.Errors[n-1].Error)
		}
		return r, e
	case info.Result == nil:
		return r, fmt.Errorf("plainjobs: %s: job %s #%d has no result", op, info.Name, info.ID)
	}
	data, err := q.Decrypt(engine.KindResult, info.Name, info.Result)
	if err != nil {
		return r, fmt.Errorf("plainjobs: %s: the result of job %s #%d: %w", op, info.Name, info.ID, err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("plainjobs: %s: the result of job %s #%d does not decode: %s", op, info.Name, info.ID, reason(err))
	}
	return r, nil
}

// dropNeeds leaves only groups and flows in the Groups of jobs, without what other jobs depend
// on.
func (q *Queue) dropNeeds(ctx context.Context, jobs []Info) error {
	var ids []int64
	for i := range jobs {
		if len(jobs[i].Groups) > 1 {
			ids = append(ids, jobs[i].Groups[1:]...)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	needs, err := engine.NeedGates(ctx, q.engine().Backend, ids)
	if err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	for i := range jobs {
		if len(jobs[i].Groups) > 1 {
			jobs[i].Groups = slices.DeleteFunc(slices.Clone(jobs[i].Groups), func(id int64) bool { return needs[id] })
		}
	}
	return nil
}
