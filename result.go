package plainjobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A ResultJob is a [Job] whose handler returns a result, which is stored with the job as
// JSON.
type ResultJob[T, R any] struct{ *Job[T] }

// Name returns the job's name, or an empty string for a nil job.
func (j *ResultJob[T, R]) Name() string {
	if j == nil {
		return ""
	}
	return j.Job.Name()
}

func (j *ResultJob[T, R]) definition() *engine.Definition { return j.def }

// With is [Job.With].
func (j *ResultJob[T, R]) With(data T, opts ...TaskOption) Task {
	if j == nil {
		panic(fmt.Sprintf("plainjobs: %s: With of a nil job", caller()))
	}
	return j.Job.With(data, opts...)
}

// DefineResult is [Define] for a handler with a result.
func DefineResult[T, R any](name string, fn func(ctx context.Context, data T) (R, error), opts ...DefineOption) *ResultJob[T, R] {
	where := caller()
	if fn == nil {
		panic(fmt.Sprintf("plainjobs: %s: job %q is defined with a nil handler; use Declare to bind one later", where, name))
	}
	return &ResultJob[T, R]{define[T](name, where, decoding(storing(fn)), withResult(opts))}
}

// DeclareResult is [Declare] for a handler with a result.
func DeclareResult[T, R any](name string, opts ...DefineOption) *ResultJob[T, R] {
	return &ResultJob[T, R]{define[T](name, caller(), nil, withResult(opts))}
}

// withResult returns the options of a job with a result.
func withResult(opts []DefineOption) []DefineOption {
	return append(slices.Clip(opts), defineOption(func(d *engine.Definition) error {
		if d.Results = true; d.Settings.History.Done < 0 {
			return errors.New("it has a result, which Keep deletes before Await could return it: use a positive Done")
		}
		return nil
	}))
}

// HandleResult is [Handle] for a handler with a result.
func HandleResult[T, R any](q *Queue, job *ResultJob[T, R], fn func(ctx context.Context, data T) (R, error)) {
	if q == nil || job == nil || fn == nil {
		panic(fmt.Sprintf("plainjobs: %s: HandleResult with a nil queue, job or handler", caller()))
	}
	q.engine().Handle(job.def, decoding(storing(fn))(job.def))
}

// storing returns fn as a handler that stores its result with the run.
func storing[T, R any](fn func(context.Context, T) (R, error)) func(context.Context, T) error {
	return func(ctx context.Context, data T) error {
		r, err := fn(ctx, data)
		if err != nil {
			return err
		}
		i := engine.InfoOf(ctx)
		encoded, err := encodeResult(i, r)
		if err == nil {
			i.Result = encoded
		}
		return err
	}
}

// Record sets the result of a handler's job to v, encoded as JSON, for [Queue.Get]. The
// result is stored with the end of the run, however the run ends. The last call of a run
// counts, and a result that the handler of a [ResultJob] returns replaces it. The result
// of an earlier run stays until a later run has one.
//
// A run that loses its lease, or whose process dies, stores no result. Calls of one run
// must not overlap, and Record must not be called after the handler has returned. Record
// returns an error outside a handler, or if v does not encode or exceeds
// Options.MaxPayload.
func Record(ctx context.Context, v any) error {
	i := engine.InfoOf(ctx)
	if i == nil {
		return errors.New("plainjobs: Record outside of a handler")
	}
	if err := engine.Lookup(i.Job.Name).RefuseBatch("Record"); err != nil {
		return err
	}
	encoded, err := encodeResult(i, v)
	if err != nil {
		return fmt.Errorf("plainjobs: record: %w", err)
	}
	i.Result = encoded
	return nil
}

func encodeResult(i *engine.Info, r any) ([]byte, error) {
	encoded, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("result of job %s #%d, a %T, does not encode: %w", i.Job.Name, i.Job.ID, r, err)
	}
	if len(encoded) > i.Queue.MaxPayload {
		return nil, fmt.Errorf("result of job %s #%d: %w: %d bytes, at most %d", i.Job.Name, i.Job.ID, ErrPayloadTooLarge,
			len(encoded), i.Queue.MaxPayload)
	}
	encrypted, err := i.Queue.Encrypt(engine.KindResult, i.Job.Name, encoded)
	if err != nil {
		return nil, fmt.Errorf("result of job %s #%d: %w", i.Job.Name, i.Job.ID, err)
	}
	return encrypted, nil
}

// Complete is the function [Complete] for a job with a result, which it stores too.
func (j *ResultJob[T, R]) Complete(ctx context.Context, tx *sql.Tx, result R) error {
	i := engine.InfoOf(ctx)
	if i == nil {
		return errors.New("plainjobs: Complete outside of a handler")
	}
	encoded, err := encodeResult(i, result)
	if err != nil {
		return fmt.Errorf("plainjobs: complete: %w", err)
	}
	return complete(ctx, tx, encoded)
}

// A JobError is the error of [ResultJob.Await] and [ResultJob.Need] for a job that failed or was cancelled.
type JobError struct {
	ID    int64
	Name  string
	State State  // Failed or Cancelled
	Last  string // its last error
}

// Error says how the job ended.
func (e *JobError) Error() string {
	return fmt.Sprintf("job %s #%d is %v: %s", e.Name, e.ID, e.State, e.Last)
}

// Await waits until the job with the ID has finished, in any process, and returns its
// result. It returns a [*JobError] if the job failed or was cancelled, [ErrNotFound] if
// the job does not exist, and the context's error if the context ends first.
//
// A handler that calls Await keeps its slot meanwhile. If all slots of all workers wait
// like this for jobs that have not started, none of these jobs ever starts. Give the
// awaited jobs slots of their own with worker.Options.Lanes, or return [Snooze] and look
// again later. If an awaited job has not started after five seconds, the log says
// so, and whether no slot is left. Await returns an error at once for a job that cannot
// end before the handler returns: the handler's own job, a job that is blocked by it,
// and, in a test without a worker, a job that waits.
func (j *ResultJob[T, R]) Await(ctx context.Context, q *Queue, id int64) (R, error) {
	var r R
	if j == nil || q == nil {
		panic(fmt.Sprintf("plainjobs: %s: Await of a nil job, or with a nil queue", caller()))
	}
	info, err := q.await(ctx, id)
	switch {
	case err != nil:
		return r, fmt.Errorf("plainjobs: await job %s #%d: %w", j.Name(), id, err)
	case engine.Lookup(info.Name) != j.def: // it may have an alias as its name
		return r, fmt.Errorf("plainjobs: await: job #%d is named %s, not %s", id, info.Name, j.Name())
	}
	return j.result("await", q.engine(), &info)
}

// The intervals at which await polls.
const (
	awaitFirst = 2 * time.Millisecond
	awaitMost  = 100 * time.Millisecond
	// awaitWarn is when the log says that the job has not started. It says so again
	// after ten times as long.
	awaitWarn = 5 * time.Second
)

// await returns the job when it has finished. It polls at growing intervals: a poll
// takes microseconds and blocks nothing.
func (q *Queue) await(ctx context.Context, id int64) (backend.Info, error) {
	reader, ok := q.engine().Backend.(backend.Reader)
	if !ok {
		return backend.Info{}, errors.ErrUnsupported
	}
	run := engine.InfoOf(ctx)
	if run != nil && run.Queue != q.engine() {
		run = nil // another worker runs it
	}
	warn := func(*backend.Info, time.Duration) {}
	if run != nil && run.Progress != nil {
		var done func()
		warn, done = run.Progress.Await()
		defer done()
	}
	began, next := time.Now(), awaitWarn
	pause := awaitFirst
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		info, err := reader.Get(ctx, id)
		if err != nil || info.State.Terminal() {
			return info, err
		}
		if run != nil {
			if err := hopeless(run, &info); err != nil {
				return info, err
			}
		}
		if waited := time.Since(began); info.State.Waits() && waited >= next {
			warn(&info, waited)
			next = 10 * waited
		}
		select {
		case <-ctx.Done():
			return info, ctx.Err()
		case <-timer.C:
		}
		pause = min(pause*3/2, awaitMost)
		timer.Reset(pause)
	}
}

// hopeless returns why an awaited job cannot end before the handler that awaits it, or
// nil if it may.
func hopeless(run *engine.Info, awaited *backend.Info) error {
	switch {
	case awaited.ID == run.Job.ID:
		return errors.New("a handler cannot await its own job")
	case awaited.BlockedBy == run.Job.ID:
		return fmt.Errorf("it is blocked by this handler's job, which has the same serial key %q: use different keys", awaited.SerialKey)
	case run.Progress == nil && awaited.State.Waits():
		return fmt.Errorf("it is %v, and no worker runs in this test, so it cannot run before this handler returns: run a worker, or test the two jobs separately",
			awaited.State)
	}
	return nil
}
