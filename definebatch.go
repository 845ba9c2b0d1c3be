package plainjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// DefineBatch is [Define] for a handler that runs many jobs at once, at most [MaxBatch], for
// example to insert their rows with one statement. Each job keeps its own attempts, errors,
// keys and lease. If the handler returns nil, all jobs are done. If it returns a
// [BatchError], the jobs with the errors fail, and the others are done. Any other error, a
// panic and the end of a [Timeout] fail all jobs of the batch.
//
//	var Index = plainjobs.DefineBatch("index", func(ctx context.Context, docs []Doc) error {
//		return search.Add(ctx, docs)
//	}, plainjobs.MaxBatch(500), plainjobs.Linger(50*time.Millisecond))
//
// A batch job has slots of its own in each worker, next to those of worker.Options: one, or as
// many as [Concurrency] says. [MaxRunning] and [RateLimit] count jobs. Jobs with serial keys
// run alone, because only one job of a key can run at a time, and so do jobs whose worker
// died. Jobs of one batch may have different keys of [FairBy].
//
// [FromContext], [Logger] and middleware have the first job of the batch; the payload that
// middleware sees is as it is stored. [OnError] is called for each job that fails, and
// [Progress] counts for all jobs. Cancelling a job ends the context only when all jobs of
// the batch are cancelled. A job that expired, was cancelled or does not decode is left out
// of the batch.
//
// [Record], [Complete], [Step], [StepTx], [Sleep], [Signal.Wait] and [ResultJob.Need] are
// errors in a batch, and [GroupOf] returns false. [Handle] does not take a batch job. In tests
// without a worker each batch has one job.
func DefineBatch[T any](name string, fn func(ctx context.Context, data []T) error, opts ...DefineOption) *Job[T] {
	where := caller()
	if fn == nil {
		panic(fmt.Sprintf("plainjobs: %s: job %q is defined with a nil handler", where, name))
	}
	batch := defineOption(func(d *engine.Definition) error {
		d.Batch, d.MaxBatch = true, engine.DefaultMaxBatch
		return nil
	})
	return define[T](name, where, decodingBatch(fn), append([]DefineOption{batch}, opts...))
}

// decodingBatch returns fn as the engine runs it.
func decodingBatch[T any](fn func(context.Context, []T) error) func(*engine.Definition) engine.Run {
	return func(d *engine.Definition) engine.Run {
		return func(ctx context.Context, payload []byte) error {
			b := engine.BatchOf(ctx)
			if b == nil {
				var data T
				if err := decode(d, engine.InfoOf(ctx).Job.ID, payload, &data); err != nil {
					return err
				}
				return engine.Errors(fn(ctx, []T{data}), 1)[0]
			}
			all := make([]T, 0, b.Len())
			for i := range b.Len() {
				var data T
				payload, err := b.Payload(i)
				if err == nil {
					err = decode(d, b.ID(i), payload, &data)
				}
				if err != nil {
					b.Fail(i, err)
					continue
				}
				all = append(all, data)
			}
			if len(all) == 0 {
				return nil
			}
			return fn(ctx, all)
		}
	}
}

// decode decodes the payload of a job.
func decode(d *engine.Definition, id int64, payload []byte, data any) error {
	if err := json.Unmarshal(payload, data); err != nil {
		return &DecodeError{Job: d.Name, ID: id, Field: field(err), reason: reason(err)}
	}
	return nil
}

// A BatchError is the error of a handler of [DefineBatch] for single jobs, by their index in
// the data of the handler. Jobs without an error are done. The errors may be those of
// [Cancel], [RetryAfter] and [Snooze]. An index that is out of range fails all jobs of the
// batch with an error that names it, and so does a BatchError that is joined with other
// errors. Error has the first errors.
type BatchError = engine.BatchError

var errNoBatch = errors.New("it is an option of DefineBatch")

// MaxBatch is how many jobs a handler of [DefineBatch] runs at once, from 1 to 1000. The
// default is 100.
func MaxBatch(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		switch d.MaxBatch = n; {
		case !d.Batch:
			return fmt.Errorf("MaxBatch(%d): %w", n, errNoBatch)
		case n < 1 || n > 1000:
			return fmt.Errorf("MaxBatch(%d) is not within 1 and 1000", n)
		}
		return nil
	})
}

// Linger is how long a batch of [DefineBatch] with less than [MaxBatch] jobs waits for more,
// at most a minute. The default is not to wait: a batch has the jobs that are there.
func Linger(d time.Duration) DefineOption {
	return defineOption(func(def *engine.Definition) error {
		switch def.Linger = d; {
		case !def.Batch:
			return fmt.Errorf("Linger(%v): %w", d, errNoBatch)
		case d < 0 || d > time.Minute:
			return fmt.Errorf("Linger(%v) is not within 0 and 1m", d)
		}
		return nil
	})
}
