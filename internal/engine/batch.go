package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DefaultMaxBatch is the maximum number of jobs of a batch without an option.
const DefaultMaxBatch = 100

// A Batch is the run of several jobs of a worker.
type Batch interface {
	ProgressReporter
	// Len returns the number of jobs.
	Len() int
	// Payload returns the payload of a job, decrypted.
	Payload(i int) ([]byte, error)
	// ID returns the ID of a job.
	ID(i int) int64
	// Fail ends the run of one job, which the handler does not get.
	Fail(i int, err error)
}

// BatchOf returns the batch of a run of a worker, or nil.
func BatchOf(ctx context.Context) Batch {
	i := InfoOf(ctx)
	if i == nil {
		return nil
	}
	b, _ := i.Progress.(Batch)
	return b
}

// RefuseBatch returns an error if the job runs in batches, also in a batch of one in a test. what
// needs a single job. d may be nil.
func (d *Definition) RefuseBatch(what string) error {
	if d != nil && d.Batch {
		return fmt.Errorf("plainjobs: %s in a handler of DefineBatch, whose jobs run together: define job %s with Define", what, d.Name)
	}
	return nil
}

// A BatchError is plainjobs.BatchError.
type BatchError map[int]error

// Error lists the first errors, by index.
func (e BatchError) Error() string {
	const most = 3
	var text strings.Builder
	failed := 0
	for _, i := range slices.Sorted(maps.Keys(e)) {
		if e[i] == nil {
			continue
		}
		if failed++; failed <= most {
			fmt.Fprintf(&text, "; %d: %v", i, e[i])
		}
	}
	if failed > most {
		text.WriteString("; …")
	}
	return fmt.Sprintf("%d jobs of the batch failed", failed) + text.String()
}

// Errors returns the error of each of n jobs whose handler returned err. An error that is not
// a BatchError is that of all. So is an index out of range: the job that it was meant for is
// not known, and must not count as done.
func Errors(err error, n int) []error {
	all := make([]error, n)
	if err == nil {
		return all
	}
	byIndex, ok := batchError(err)
	if !ok {
		for i := range all {
			all[i] = err
		}
		return all
	}
	var outside error
	for _, i := range slices.Sorted(maps.Keys(byIndex)) {
		if i < 0 || i >= n {
			outside = fmt.Errorf("the handler returned a BatchError with the index %d, and the batch has %d jobs, so none counts as done: %w", i, n, cmp.Or(byIndex[i], errNone))
			break
		}
	}
	for i := range all {
		all[i] = cmp.Or(byIndex[i], outside)
	}
	return all
}

var errNone = fmt.Errorf("its error is nil")

// batchError returns the BatchError that err is or wraps alone. Next to other errors, as
// errors.Join puts it, it does not say how the jobs ended. The errors are the user's code.
func batchError(err error) (found BatchError, ok bool) {
	defer func() {
		if recover() != nil {
			found, ok = nil, false
		}
	}()
	for err != nil {
		if e, is := err.(BatchError); is { //nolint:errorlint // unwrapped here
			return e, true
		}
		wrapped, is := err.(interface{ Unwrap() error })
		if !is {
			return nil, false
		}
		err = wrapped.Unwrap()
	}
	return nil, false
}
