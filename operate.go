package plainjobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A Filter selects jobs: those to which all of its fields apply that are not
// zero.
type Filter struct {
	// IDs of the jobs: nil does not filter, an empty list selects none. List
	// and Count take at most 1000.
	IDs   []int64
	Name  string
	State State
	// Key is the unique or the serial key.
	Key string
	// HasKey selects the jobs that have a unique key now: those that wait or
	// run with one, and those that keep one by [For].
	HasKey bool
	// Error is text within the last error, in the same case.
	Error string
	// Since and Until bound when a job finished, or was pushed if it has
	// not: from Since on and before Until.
	Since, Until time.Time
	// All must be set for Retry, Cancel and Delete to take every job there
	// is.
	All bool
}

func (f Filter) stored() backend.Filter {
	return backend.Filter{
		IDs: f.IDs, Name: f.Name, State: f.State, Key: f.Key, HasKey: f.HasKey, Error: f.Error, Since: f.Since, Until: f.Until,
	}
}

func (f Filter) check() error {
	if f.State != 0 && !slices.Contains(backend.States(), f.State) {
		return fmt.Errorf("%w: unknown %v", backend.ErrInvalid, f.State)
	}
	return nil
}

// Get returns a job, or an error that matches [ErrNotFound].
func (q *Queue) Get(ctx context.Context, id int64) (Info, error) {
	reader, err := capability[backend.Reader](q, "get")
	if err != nil {
		return Info{}, err
	}
	info, err := reader.Get(ctx, id)
	if err != nil {
		return Info{}, fmt.Errorf("plainjobs: %w", err)
	}
	return infoOfStored(&info), nil
}

// List returns the newest jobs that match the filter and have an ID below
// before, or all if that is zero; at most limit, from 1 to 1000, or 100 if that
// is zero. To go on, call it with the next that it returned, until that is
// zero; a page may be short, or empty, and still have a next one, as each looks
// at a bounded number of jobs.
func (q *Queue) List(ctx context.Context, filter Filter, before int64, limit int) (jobs []Info, next int64, err error) {
	reader, err := capability[backend.Reader](q, "list")
	if err != nil {
		return nil, 0, err
	}
	page, err := reader.List(ctx, backend.ListRequest{Filter: filter.stored(), Before: before, Limit: limit})
	if err != nil {
		return nil, 0, fmt.Errorf("plainjobs: %w", err)
	}
	for i := range page.Jobs {
		jobs = append(jobs, infoOfStored(&page.Jobs[i]))
	}
	return jobs, page.Next, nil
}

// countMost is where Count stops unless it is to be exact.
const countMost = 10_000

// Count returns how many jobs match the filter. By name and state alone it is
// exact and costs nothing. Otherwise it stops at 10,000, and more is set,
// unless exact is.
func (q *Queue) Count(ctx context.Context, filter Filter, exact bool) (n int64, more bool, err error) {
	if err := filter.check(); err != nil {
		return 0, false, fmt.Errorf("plainjobs: count: %w", err)
	}
	if f := filter; f.IDs == nil && f.Key == "" && !f.HasKey && f.Error == "" && f.Since.IsZero() && f.Until.IsZero() {
		counts, err := q.Counts(ctx)
		for _, c := range counts {
			if (f.Name == "" || c.Name == f.Name) && (f.State == 0 || c.State == f.State) {
				n += c.Jobs
			}
		}
		return n, false, err
	}
	for before := int64(0); ; {
		jobs, next, err := q.List(ctx, filter, before, 1000)
		n += int64(len(jobs))
		switch {
		case err != nil || next == 0:
			return n, false, err
		case n >= countMost && !exact:
			return countMost, true, nil
		}
		before = next
	}
}

// A Count is how many jobs of one name are in one state.
type Count = backend.Count

// Counts returns how many jobs there are of each name and state, without the
// zeros, ordered by name and state.
func (q *Queue) Counts(ctx context.Context) ([]Count, error) {
	reader, err := capability[backend.Reader](q, "counts")
	if err != nil {
		return nil, err
	}
	counts, err := reader.Count(ctx)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: %w", err)
	}
	return counts, nil
}

// A Worker is a worker of any process.
type Worker = backend.WorkerInfo

// Workers returns the workers that are registered, the longest first. One that
// is not Alive has not been heard of for its lease, or its process has Ended,
// as this host can tell of its own: others rescue its jobs.
func (q *Queue) Workers(ctx context.Context) ([]Worker, error) {
	reader, err := capability[backend.Reader](q, "workers")
	if err != nil {
		return nil, err
	}
	workers, err := engine.Workers(ctx, reader)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: %w", err)
	}
	return workers, nil
}

// Retry makes failed and cancelled jobs that match the filter wait again as if
// they were new, and scheduled ones run at once; done ones too, but only if the
// filter says IDs, State or All. It returns how many it were, and an error that
// matches [ErrDuplicate] if there are others whose unique key is taken, which it
// leaves alone.
//
// They stand behind the jobs of their priority that wait already, and before
// those that are performed later. With the option [Priority], and no other, they
// have another priority from then on: thousands of them, at a low one, hold up
// nothing that is new.
func (q *Queue) Retry(ctx context.Context, filter Filter, priority ...TaskOption) (n int, err error) {
	req := backend.OperateRequest{Op: backend.OpRetry}
	if req.Priority, err = priorityOf(priority); err != nil {
		return 0, fmt.Errorf("plainjobs: retry: %w", err)
	}
	if filter.IDs != nil || filter.State != 0 || filter.All || filter.stored().All() {
		return q.operate(ctx, req, "retry", filter)
	}
	for _, state := range []State{Failed, Cancelled, Scheduled} {
		filter.State = state
		some, stateErr := q.operate(ctx, req, "retry", filter)
		n += some
		err = errors.Join(err, stateErr)
	}
	return n, err
}

// priorityOf returns the priority that options give, or nil without any.
func priorityOf(opts []TaskOption) (*int16, error) {
	if len(opts) == 0 {
		return nil, nil
	}
	t, other := Task{}, Task{}
	other.job.Priority = 1 // what is no Priority leaves the two unequal, or sets more than that
	for _, opt := range opts {
		if err := errors.Join(opt.task(&t), opt.task(&other)); err != nil {
			return nil, err
		}
	}
	p := t.job.Priority
	t.job.Priority = 0
	if other.job.Priority != p || !reflect.DeepEqual(t, Task{}) {
		return nil, fmt.Errorf("%w: of the options of a task it takes Priority alone", backend.ErrInvalid)
	}
	return &p, nil
}

// Cancel ends waiting jobs that match the filter, and the contexts of running
// ones with [ErrCancelled]: at once if a worker of this Queue runs them, within
// a heartbeat if another does. It returns how many it were.
//
// A store without heartbeats, see [backend.Heartbeater], cannot tell another worker. A
// job that one runs is not counted, and the error matches
// [errors.ErrUnsupported]: its run goes on, and the job is done if that succeeds
// and cancelled if it does not.
func (q *Queue) Cancel(ctx context.Context, filter Filter) (int, error) {
	return q.operate(ctx, backend.OperateRequest{Op: backend.OpCancel}, "cancel", filter)
}

// Delete deletes jobs that match the filter and are not running. It returns how
// many it were.
func (q *Queue) Delete(ctx context.Context, filter Filter) (int, error) {
	return q.operate(ctx, backend.OperateRequest{Op: backend.OpDelete}, "delete", filter)
}

// FreeKeys gives back the unique keys that jobs which match the filter keep by
// [For] alone, so that a new job may have them. A job that waits, or that runs
// and is not [UntilStarted], has its key until it ends, or is cancelled or
// deleted. It returns how many keys it were.
func (q *Queue) FreeKeys(ctx context.Context, filter Filter) (int, error) {
	return q.operate(ctx, backend.OperateRequest{Op: backend.OpFree}, "free keys", filter)
}

// operate applies an operation page by page. With an error it says how many
// jobs were affected before.
func (q *Queue) operate(ctx context.Context, req backend.OperateRequest, name string, filter Filter) (n int, err error) {
	operator, err := capability[backend.Operator](q, name)
	if err != nil {
		return 0, err
	}
	if filter.stored().All() && !filter.All {
		return 0, fmt.Errorf("plainjobs: %s: %w: the filter matches every job; set Filter.All to mean that", name, backend.ErrInvalid)
	}
	// The newest go first, as in a list, and neighbours share the store's pages.
	filter.IDs = slices.Clone(filter.IDs)
	slices.SortFunc(filter.IDs, func(a, b int64) int { return cmp.Compare(b, a) })
	filter.IDs = slices.Compact(filter.IDs)
	_, tells := operator.(backend.Heartbeater)
	var reader backend.Reader // to find runs that cannot be told
	if req.Op == backend.OpCancel && !tells {
		if reader, err = capability[backend.Reader](q, name+" without heartbeats"); err != nil {
			return 0, err
		}
	}
	var duplicates, running []int64
	for filter, rest := chunk(filter); ; filter, rest = chunk(rest) {
		for req.Filter, req.Before = filter.stored(), 0; ; {
			result, err := operator.Operate(ctx, req)
			if err != nil {
				return n, fmt.Errorf("plainjobs: %w", err)
			}
			n += len(result.Affected)
			duplicates = append(duplicates, result.Duplicates...)
			if req.Op == backend.OpCancel {
				had := q.engine().CancelRuns(result.Affected)
				if reader != nil {
					elsewhere, err := runsElsewhere(ctx, reader, result.Affected, had)
					running = append(running, elsewhere...)
					if n -= len(elsewhere); err != nil {
						return n, fmt.Errorf("plainjobs: %w", err)
					}
				}
			}
			if req.Before = result.Next; req.Before == 0 {
				break
			}
		}
		if len(rest.IDs) == 0 {
			break
		}
	}
	if len(running) > 0 {
		return n, fmt.Errorf("plainjobs: %s: %w by %T to end the runs of other workers, as it has no heartbeats: jobs %v run on, "+
			"and are cancelled only if their runs fail", name, errors.ErrUnsupported, q.engine().Backend, running[:min(len(running), 10)])
	}
	if len(duplicates) > 0 {
		return n, fmt.Errorf("plainjobs: %s: %w: the unique keys of jobs %v are taken", name, ErrDuplicate,
			duplicates[:min(len(duplicates), 10)])
	}
	return n, nil
}

// runsElsewhere returns those of some cancelled jobs, at most 1000, that run and are
// not among those that workers of this queue had.
func runsElsewhere(ctx context.Context, reader backend.Reader, cancelled, had []int64) ([]int64, error) {
	rest := slices.DeleteFunc(slices.Clone(cancelled), func(id int64) bool { return slices.Contains(had, id) })
	if len(rest) == 0 {
		return nil, nil
	}
	var running []int64
	for req := (backend.ListRequest{Filter: backend.Filter{IDs: rest, State: backend.Running}, Limit: 1000}); ; {
		page, err := reader.List(ctx, req)
		if err != nil {
			return running, err
		}
		for i := range page.Jobs {
			running = append(running, page.Jobs[i].ID)
		}
		if req.Before = page.Next; req.Before == 0 {
			return running, nil
		}
	}
}

// chunk cuts off as many IDs as a store takes at once.
func chunk(f Filter) (first, rest Filter) {
	const most = 1000
	if len(f.IDs) <= most {
		return f, Filter{}
	}
	first, rest = f, f
	first.IDs, rest.IDs = f.IDs[:most], f.IDs[most:]
	return first, rest
}

// Pause stops jobs of a name from being claimed, or all jobs if it is empty, in
// all processes and until [Queue.Resume]. What runs goes on, and what workers
// have claimed ahead, for some 20 ms of work, starts yet. Others notice within
// 150 ms.
func (q *Queue) Pause(ctx context.Context, name string) error { return q.pause(ctx, name, true) }

// Resume ends a [Queue.Pause] of the same name.
func (q *Queue) Resume(ctx context.Context, name string) error { return q.pause(ctx, name, false) }

func (q *Queue) pause(ctx context.Context, name string, paused bool) error {
	setter, err := capability[backend.SettingsStore](q, "pause")
	if err != nil {
		return err
	}
	if err := setter.Pause(ctx, name, paused); err != nil {
		return fmt.Errorf("plainjobs: %w", err)
	}
	return nil
}

// A NameInfo is what is known of a job name: its limits, whether it is paused,
// how many jobs run.
type NameInfo = backend.NameInfo

// Names returns what is known of each job name, ordered by name; first comes
// one without a name if the whole queue is paused.
func (q *Queue) Names(ctx context.Context) ([]NameInfo, error) {
	setter, err := capability[backend.SettingsStore](q, "names")
	if err != nil {
		return nil, err
	}
	names, err := setter.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: %w", err)
	}
	return names, nil
}

// capability returns the queue's store as a T.
func capability[T any](q *Queue, op string) (T, error) {
	c, err := engine.Capability[T](q.engine().Backend)
	if err != nil {
		err = fmt.Errorf("plainjobs: %s: %w", op, err)
	}
	return c, err
}
