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

// A Filter selects the jobs that match all of its fields that are not zero.
type Filter struct {
	// IDs are the IDs of the jobs. nil does not filter, and an empty list selects no
	// job. List and Count take at most 1000.
	IDs []int64
	// Names and States select jobs with one of the names, and in one of the states. An
	// empty list does not filter.
	Names  []string
	States []State
	// Key is the unique key or the serial key.
	Key string
	// HasKey selects the jobs that have a unique key now: those that wait or run with
	// one, and those that keep one because of [For].
	HasKey bool
	// Error is a part of the last error. Case matters.
	Error string
	// Since and Until limit when the job finished, or was pushed if it has not finished:
	// from Since on, and before Until.
	Since, Until time.Time
	// Group is the ID of the [Group] whose members the jobs are, and CallbackOf that of the
	// group whose callbacks they are.
	Group, CallbackOf int64
	// Metadata are pairs that the jobs' metadata have, see the option [Metadata]. No index
	// has them: each call of List looks at up to 20,000 jobs and their metadata.
	Metadata map[string]string
	// All lets Retry, Cancel, Prioritize and Delete affect every job. Without it they refuse a filter
	// that selects every job.
	All bool
}

func (f Filter) stored() backend.Filter {
	return backend.Filter{
		IDs: f.IDs, Names: f.Names, States: f.States, Metadata: f.Metadata, Key: f.Key, HasKey: f.HasKey, Error: f.Error, Since: f.Since, Until: f.Until,
		Gate: f.Group, Behind: f.CallbackOf,
	}
}

func (f Filter) check() error {
	for _, state := range f.States {
		if !slices.Contains(backend.States(), state) {
			return fmt.Errorf("%w: unknown %v", backend.ErrInvalid, state)
		}
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
	shown := []Info{infoOfStored(&info)}
	err = q.dropNeeds(ctx, shown)
	return shown[0], err
}

// List returns the newest jobs that match the filter and have an ID below before, or any
// ID if before is zero. It returns at most limit jobs, from 1 to 1000; zero is 100. For
// the next page call it with next as before, until next is zero. Each call looks at a
// limited number of jobs, so a page may be short or empty and still have a next one.
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
	return jobs, page.Next, q.dropNeeds(ctx, jobs)
}

// countMost is where Count stops unless exact is set.
const countMost = 10_000

// Count returns the number of jobs that match the filter. A filter by names and states
// alone is exact and costs nothing. With any other filter Count stops at 10,000 and sets
// more, unless exact is set.
func (q *Queue) Count(ctx context.Context, filter Filter, exact bool) (n int64, more bool, err error) {
	if err := filter.check(); err != nil {
		return 0, false, fmt.Errorf("plainjobs: count: %w", err)
	}
	rest := filter.stored()
	if rest.Names, rest.States = nil, nil; engine.SelectsAll(rest) {
		counts, err := q.Counts(ctx)
		for _, c := range counts {
			if (len(filter.Names) == 0 || slices.Contains(filter.Names, c.Name)) && (len(filter.States) == 0 || slices.Contains(filter.States, c.State)) {
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

// A Count is the number of Jobs with one Name in one State.
type Count = backend.Count

// Counts returns the numbers of jobs by name and state, without zeros, ordered by name
// and state.
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

// A Worker is a registered worker of any process. ID identifies it; Host, PID and Process
// its process, and Version is that of its program, if the build has one. Jobs and Schedules are the names that it knows. StartedAt and SeenAt are
// when it started and sent its last heartbeat, and Lease is how long it is Alive after
// that. Ended is set if its process has certainly ended, and Present if it certainly has
// not. Running is the number of jobs that it holds. Stuck are the runs whose handlers go on
// although their contexts have ended, at most 10, with the stacks that they had 5 seconds
// later; a heartbeat stores them.
type Worker = backend.WorkerInfo

// Workers returns the registered workers, the longest registered first. A worker is not
// Alive if its lease has expired or its process has Ended, which is detected only on
// SQLite on Linux, for processes of the same host. Other workers rescue its jobs.
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

// Retry makes failed and cancelled jobs that match the filter wait again; their attempts
// count from 1 again. It makes scheduled ones run now. Stored steps are kept, except
// those of done jobs; see [Queue.RetryFrom]. It retries done jobs only if the filter has
// IDs, States or All. It returns the number of jobs retried. If the unique keys of some
// jobs are taken, it leaves these jobs alone and returns an error that matches
// [ErrDuplicate]. So it does with [ErrDropped] if payloads are deleted; see [History].
//
// Retried jobs run after the jobs of their priority that wait already, and before jobs
// performed later. [Priority], the only option allowed, changes their priority: many
// jobs at a low priority delay no new ones.
func (q *Queue) Retry(ctx context.Context, filter Filter, priority ...TaskOption) (n int, err error) {
	req := backend.OperateRequest{Op: backend.OpRetry}
	if req.Priority, err = priorityOf(priority); err != nil {
		return 0, fmt.Errorf("plainjobs: retry: %w", err)
	}
	if filter.IDs != nil || len(filter.States) > 0 || filter.All || engine.SelectsAll(filter.stored()) {
		return q.operate(ctx, req, "retry", filter)
	}
	for _, states := range [][]State{{Failed, Cancelled}, {Scheduled}} { // an index has the first two
		filter.States = states
		some, stateErr := q.operate(ctx, req, "retry", filter)
		n += some
		err = errors.Join(err, stateErr)
	}
	return n, err
}

// priorityOf returns the priority that the options set, or nil without options.
func priorityOf(opts []TaskOption) (*int16, error) {
	if len(opts) == 0 {
		return nil, nil
	}
	t, other := Task{}, Task{}
	other.job.Priority = 1 // an option that is not Priority leaves the two different, or sets more
	for _, opt := range opts {
		if err := errors.Join(opt.task(&t), opt.task(&other)); err != nil {
			return nil, err
		}
	}
	p := t.job.Priority
	t.job.Priority, t.ownPriority = 0, false
	if other.job.Priority != p || !reflect.DeepEqual(t, Task{}) {
		return nil, fmt.Errorf("%w: pass Priority or no option", backend.ErrInvalid)
	}
	return &p, nil
}

// Cancel cancels waiting jobs that match the filter, and ends the contexts of running
// ones with [ErrCancelled]: at once if a worker of this Queue runs them, and within a
// heartbeat if another worker does. It returns the number of both. A running job whose
// handler then returns nil is done all the same.
//
// A store without heartbeats, see [backend.Heartbeater], cannot reach another worker. A
// job that such a worker runs is not counted, and the error matches
// [errors.ErrUnsupported]. Its run continues: if it succeeds the job is done, and
// otherwise cancelled.
func (q *Queue) Cancel(ctx context.Context, filter Filter) (int, error) {
	return q.operate(ctx, backend.OperateRequest{Op: backend.OpCancel}, "cancel", filter)
}

// Delete deletes jobs that match the filter and are not running. It returns the number
// of jobs deleted.
func (q *Queue) Delete(ctx context.Context, filter Filter) (int, error) {
	return q.operate(ctx, backend.OperateRequest{Op: backend.OpDelete}, "delete", filter)
}

// Prioritize gives waiting jobs that match the filter another priority; see [Priority].
// Nothing else changes: they keep their place among jobs of that priority. It returns the
// number of jobs changed.
func (q *Queue) Prioritize(ctx context.Context, filter Filter, priority int16) (int, error) {
	return q.operate(ctx, backend.OperateRequest{Op: backend.OpPrioritize, Priority: &priority}, "prioritize", filter)
}

// Actions returns the latest actions that people took in the dashboard, the latest first:
// at most limit, and only those with an ID below before unless it is zero. A store keeps
// 1000.
func (q *Queue) Actions(ctx context.Context, before int64, limit int) ([]Action, error) {
	operator, err := capability[backend.Operator](q, "actions")
	if err != nil {
		return nil, err
	}
	actions, err := operator.Actions(ctx, before, limit)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: %w", err)
	}
	return actions, nil
}

// FreeKeys releases the unique keys that matching jobs keep only because of [For], so
// that new jobs may have them. It returns the number of keys released. Only jobs that
// have finished, and running ones with [UntilStarted], keep a key because of For;
// FreeKeys leaves the keys of all others.
func (q *Queue) FreeKeys(ctx context.Context, filter Filter) (int, error) {
	return q.operate(ctx, backend.OperateRequest{Op: backend.OpFree}, "free keys", filter)
}

// operate applies an operation page by page. With an error it returns the number of jobs
// affected before.
func (q *Queue) operate(ctx context.Context, req backend.OperateRequest, name string, filter Filter) (n int, err error) {
	operator, err := capability[backend.Operator](q, name)
	if err != nil {
		return 0, err
	}
	if req.Limit = engine.FirstPage; req.Op == backend.OpRetry {
		req.Limit = 1000 // jobs with one serial key wait in order if they are in one page
	}
	if engine.SelectsAll(filter.stored()) && !filter.All {
		return 0, fmt.Errorf("plainjobs: %s: %w: the filter matches every job; set Filter.All to mean that", name, backend.ErrInvalid)
	}
	// The newest go first, as in a list, and jobs with IDs close together share pages.
	filter.IDs = slices.Clone(filter.IDs)
	slices.SortFunc(filter.IDs, func(a, b int64) int { return cmp.Compare(b, a) })
	filter.IDs = slices.Compact(filter.IDs)
	_, tells := operator.(backend.Heartbeater)
	var reader backend.Reader // finds runs that cannot be reached
	if req.Op == backend.OpCancel && !tells {
		if reader, err = capability[backend.Reader](q, name+" without heartbeats"); err != nil {
			return 0, err
		}
	}
	var duplicates, dropped, running []int64
	for filter, rest := chunk(filter); ; filter, rest = chunk(rest) {
		for req.Filter, req.Before = filter.stored(), 0; ; {
			began := time.Now()
			result, err := operator.Operate(ctx, req)
			req.Limit = engine.PageSize(req.Limit, time.Since(began))
			if err != nil {
				return n, fmt.Errorf("plainjobs: %w", err)
			}
			n += len(result.Affected)
			duplicates, dropped = append(duplicates, result.Duplicates...), append(dropped, result.Dropped...)
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
		return n, fmt.Errorf("plainjobs: %s: %w by %T to end the runs of other workers, because it has no heartbeats: jobs %v continue, "+
			"and are cancelled only if their runs fail", name, errors.ErrUnsupported, q.engine().Backend, running[:min(len(running), 10)])
	}
	if len(duplicates) > 0 {
		err = fmt.Errorf("plainjobs: %s: %w: the unique keys of jobs %v are taken", name, ErrDuplicate, duplicates[:min(len(duplicates), 10)])
	}
	if len(dropped) > 0 {
		err = errors.Join(err, fmt.Errorf("plainjobs: %s: %w: the payloads of jobs %v were deleted when the jobs ended; perform new ones", name, ErrDropped,
			dropped[:min(len(dropped), 10)]))
	}
	return n, err
}

// runsElsewhere returns those of the cancelled jobs, at most 1000, that run in workers
// of other queues than this one.
func runsElsewhere(ctx context.Context, reader backend.Reader, cancelled, had []int64) ([]int64, error) {
	rest := slices.DeleteFunc(slices.Clone(cancelled), func(id int64) bool { return slices.Contains(had, id) })
	if len(rest) == 0 {
		return nil, nil
	}
	var running []int64
	for req := (backend.ListRequest{Filter: backend.Filter{IDs: rest, States: []backend.State{backend.Running}}, Limit: 1000}); ; {
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

// chunk returns as many IDs as a store takes at once, and the others.
func chunk(f Filter) (first, rest Filter) {
	const most = 1000
	if len(f.IDs) <= most {
		return f, Filter{}
	}
	first, rest = f, f
	first.IDs, rest.IDs = f.IDs[:most], f.IDs[most:]
	return first, rest
}

// Pause stops workers in all processes from claiming jobs of a name, or all jobs if the
// name is empty, until [Queue.Resume]. Perform still stores jobs, but schedules push
// none, see [CatchUp]. Running jobs continue, and so do prefetched ones, about 20 ms of
// work. Workers of other processes notice within 150 ms.
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

// A NameInfo describes a job Name: its limits MaxRunning, MaxCrashes, and Rate in a
// period of Per; its History; whether it is Paused; and how many of its jobs are Running.
// Free is when the rate allows the next run, or zero if it does now. Limited reports
// whether MaxRunning or Rate is set. Override is what [Queue.Override] set, by whom and
// when, and Defined is what would apply without it. Differ reports whether live workers
// define different settings.
type NameInfo = backend.NameInfo

// Names describes each job name, ordered by name. If the whole queue is paused, the
// first has no name.
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
