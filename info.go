package plainjobs

import (
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A State is where in its life a job is.
type State = backend.State

// The states. A job is [Scheduled] until its time, retries included, or
// [Blocked] by another with its [Serial] key; then [Pending], [Running] and, in
// the end, [Done], [Failed] or [Cancelled].
const (
	Scheduled = backend.Scheduled
	Blocked   = backend.Blocked
	Pending   = backend.Pending
	Running   = backend.Running
	Done      = backend.Done
	Failed    = backend.Failed
	Cancelled = backend.Cancelled
)

// An Info is what is known of a job. That of a run, which a handler gets by
// [FromContext] and a middleware as its argument, has the first group of fields,
// State, Failures, Suspect, StartedAt by this process's clock, the keys and the
// payload, which must not be modified. What else there is only the store knows,
// and [Queue.Get] shows it: a run is claimed without it.
type Info struct {
	ID   int64
	Name string
	// Attempt is 1 for the first run and one more after each failure: the
	// run under way, or the next, or the last one. A run that is repeated
	// because a worker died has the same number again.
	Attempt     int
	MaxAttempts int
	Priority    int16
	// CreatedAt is when the job was pushed, RunAt when it was to run, by the
	// store's clock, in UTC.
	CreatedAt, RunAt time.Time
	// Metadata is what Options.Metadata gave when the job was pushed.
	Metadata map[string]string

	State State
	// Failures is how many attempts have failed, Crashes how many workers
	// died while the job was a suspect and all that they held.
	Failures, Crashes int
	// Suspect is set after a worker died holding the job, until it settles.
	Suspect bool
	// FinishedAt is when the job was done, failed or cancelled, or zero.
	FinishedAt time.Time
	// StartedAt is when the run under way was started, or the last one of a
	// job that is finished. It is zero where the store was not told: of a
	// running job before its worker's next heartbeat, which is within 8
	// seconds by default, and of one that a worker has claimed and keeps until
	// a slot is free; of a finished one whose run took less than a tenth of a
	// second.
	StartedAt time.Time
	// ExpiresAt is when the job must have started, or zero.
	ExpiresAt time.Time
	// UniqueKey and SerialKey are the keys, if any; BlockedBy is the job
	// that has the serial one.
	UniqueKey, SerialKey string
	BlockedBy            int64
	// KeyUntil is until when the job keeps its unique key at least, see [For],
	// or zero.
	KeyUntil time.Time
	// Worker is the number of the worker that runs the job.
	Worker int64
	// Cancelling is set on a running job that was cancelled.
	Cancelling bool
	// ProgressDone of ProgressTotal is what [Progress] told last.
	ProgressDone, ProgressTotal int64
	// Payload and Result are JSON. Lists leave them out, and the Errors.
	Payload, Result json.RawMessage
	// Errors are the last ten, oldest first.
	Errors []RunError

	run []byte // the payload, of a handler's
}

// A RunError is what one run failed with.
type RunError = backend.RunError

// LogValue implements [slog.LogValuer]. It never shows the payload.
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", i.Name), slog.Int64("id", i.ID), slog.Int("attempt", i.Attempt))
}

// infoOfRun is the Info of a run.
func infoOfRun(j *backend.Job) Info {
	return Info{
		ID:          j.ID,
		Name:        j.Name,
		Attempt:     j.Attempt,
		MaxAttempts: j.MaxAttempts,
		Priority:    j.Priority,
		CreatedAt:   j.CreatedAt,
		RunAt:       j.RunAt,
		Metadata:    decodeMetadata(j.Metadata),
		State:       Running,
		Failures:    j.Attempt - 1,
		Suspect:     j.Suspect,
		UniqueKey:   j.UniqueKey,
		SerialKey:   j.SerialKey,
		Payload:     slices.Clip(j.Payload),
	}
}

func infoOfStored(i *backend.Info) Info {
	attempt := i.Failures + 1
	if i.State == Failed {
		attempt = max(i.Failures, 1)
	}
	return Info{
		ID:            i.ID,
		Name:          i.Name,
		Attempt:       attempt,
		MaxAttempts:   i.MaxAttempts,
		Priority:      i.Priority,
		CreatedAt:     i.CreatedAt,
		RunAt:         i.RunAt,
		Metadata:      decodeMetadata(i.Metadata),
		State:         i.State,
		Failures:      i.Failures,
		Crashes:       i.Crashes,
		Suspect:       i.Suspect,
		FinishedAt:    i.FinishedAt,
		StartedAt:     i.StartedAt,
		ExpiresAt:     i.ExpiresAt,
		UniqueKey:     i.UniqueKey,
		SerialKey:     i.SerialKey,
		BlockedBy:     i.BlockedBy,
		KeyUntil:      i.KeyUntil,
		Worker:        i.Worker,
		Cancelling:    i.Cancelling,
		ProgressDone:  i.Done,
		ProgressTotal: i.Total,
		Payload:       i.Payload,
		Result:        i.Result,
		Errors:        i.Errors,
	}
}

// Metadata is stored as a JSON object. What is stored and no such object, as
// another program's, is not shown.
func encodeMetadata(m map[string]string) ([]byte, error) {
	if len(m) == 0 {
		return nil, nil
	}
	return json.Marshal(m)
}

func decodeMetadata(b []byte) (m map[string]string) {
	if len(b) == 0 || json.Unmarshal(b, &m) != nil {
		return nil
	}
	return m
}
