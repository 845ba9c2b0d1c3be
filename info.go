package plainjobs

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A State is a state of a job. String returns its name. Terminal reports whether jobs in
// the state have finished, so that only an operator can change them. Waits reports
// whether they have yet to be claimed.
type State = backend.State

// ParseState returns the state with a name, such as "failed", which State.String returns.
func ParseState(name string) (State, error) {
	for _, s := range backend.States() {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("plainjobs: unknown state %q: use one of %v", name, backend.States())
}

// The states. A job is [Scheduled] until its time, also for a retry, or [Blocked] by
// another job with its [Serial] key. Then it is [Pending], [Running] and, in the end,
// [Done], [Failed] or [Cancelled]. A callback of a [Group] is Blocked until its group lets
// it run.
const (
	Scheduled = backend.Scheduled
	Blocked   = backend.Blocked
	Pending   = backend.Pending
	Running   = backend.Running
	Done      = backend.Done
	Failed    = backend.Failed
	Cancelled = backend.Cancelled
)

// An Info describes a job. [Queue.Get] returns one with all fields. The Info that
// [FromContext] returns and that a middleware gets has only the fields from ID to
// Tick, State, Failures, Suspect, StartedAt by this process's clock, UniqueKey,
// SerialKey, and Payload, which must not be modified. Its other fields are zero, because
// a claim does not return them.
type Info struct {
	ID   int64
	Name string
	// Attempt is the number of the active run of a running job, of the next run of a
	// waiting job, and of the last run of a finished job. It is 1 for the first run and
	// grows by one with each failure. A run that is repeated because a worker died has
	// the same number.
	Attempt     int
	MaxAttempts int
	Priority    int16
	// CreatedAt is when the job was pushed, and RunAt when it may run, by the store's
	// clock, in UTC.
	CreatedAt, RunAt time.Time
	// Metadata is what Options.Metadata returned when the job was pushed, with the pairs
	// of the option [Metadata].
	Metadata map[string]string

	// Schedule and Tick are the schedule and the tick that the job is for, if a schedule of
	// [Queue.SetSchedule] or [Queue.Backfill] pushed it.
	Schedule string
	Tick     time.Time

	State State
	// Failures is the number of failed attempts, and Crashes the number of workers that
	// died while they held only this job and it was a suspect.
	Failures, Crashes int
	// Suspect is set after a worker died that held the job, until the end of a run of it
	// is stored.
	Suspect bool
	// FinishedAt is when the job was done, failed or cancelled, or zero.
	FinishedAt time.Time
	// StartedAt is when the active run started, or the last one of a finished job. It is
	// zero if the store does not have it. A worker stores it with its first heartbeat after
	// the start, within 8 seconds by default, or with the end of a run of 100 ms or more. A
	// prefetched job, which is Running, has not started until it gets a slot.
	StartedAt time.Time
	// ExpiresAt is when the job expires unless it has started, or zero.
	ExpiresAt time.Time
	// UniqueKey and SerialKey are the keys, if any. BlockedBy is the job that has the
	// serial key.
	UniqueKey, SerialKey string
	BlockedBy            int64
	// FairKey is the key of [FairBy], if any. RunAt of a job that has one is its turn.
	FairKey string
	// Signal and SignalKey name the signal that a Scheduled job waits for, see [Signal].
	Signal, SignalKey string
	// Groups are the IDs of the groups and flows in which the job counts; in a run, only of
	// the first.
	Groups []int64
	// CallbackOf is the ID of the group whose callback the job is, or zero. CallbackOn is then
	// "OnDone", "OnEnd" or "OnFailure".
	CallbackOf int64
	CallbackOn string
	// KeyUntil is the end of the time for which [For] keeps the job's unique key, or zero.
	KeyUntil time.Time
	// Worker is the ID of the worker that runs the job.
	Worker int64
	// Cancelling is set on a running job that was cancelled.
	Cancelling bool
	// ProgressDone and ProgressTotal are what [Progress] reported last.
	ProgressDone, ProgressTotal int64
	// Dropped is set on a finished job whose payload is deleted; see [History].
	Dropped bool
	// Payload and Result are JSON; see [encrypt.Text] for encrypted ones. [Queue.List] returns neither these nor Errors.
	Payload, Result json.RawMessage
	// Errors are the last ten errors, oldest first.
	Errors []RunError
	// Logs are what the handlers of the last ten runs logged, see Options.StoreLogs, oldest
	// first. They are deleted with the payload and when the finished job is retried, and
	// are not exported. Only [Queue.Get] returns them.
	Logs []backend.RunLog

	needs int64  // the gate of what the job depends on, or zero
	run   []byte // the payload, in a middleware
}

// A RunError is the error of one run. Attempt is the number of the attempt, At the time of
// the failure, Error the text of the error, and Stack the stack, if it is known. Worker is
// the host and process that had the run, and Took how long it took, or zero if less than
// 100 ms. Neither is set for an error of the store's own, such as of an expired job.
type RunError = backend.RunError

// LogValue implements [slog.LogValuer]. It never shows the payload.
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", i.Name), slog.Int64("id", i.ID), slog.Int("attempt", i.Attempt))
}

// infoOfRun returns the Info of a run.
func infoOfRun(j *backend.Job) Info {
	info := Info{
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
		Payload:     encrypt.Text(slices.Clip(j.Payload)),
	}
	info.Schedule, info.Tick = engine.TickOf(info.Metadata)
	info.gating(j.Gating)
	if len(info.Groups) > 1 { // the others may be gates of jobs that depend on it
		info.Groups = slices.Clip(info.Groups[:1])
	}
	return info
}

// gating sets the groups of a job.
func (i *Info) gating(g *backend.Gating) {
	switch {
	case g == nil:
		return
	case g.When.Needs():
		i.needs = g.Gate
	default:
		i.CallbackOf, i.CallbackOn = g.Gate, engine.CallbackName(g.When)
	}
	i.Groups = slices.Clip(g.Gates)
}

func infoOfStored(i *backend.Info) Info {
	attempt := i.Failures + 1
	if i.State == Failed {
		attempt = max(i.Failures, 1)
	}
	info := Info{
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
		FairKey:       i.FairKey,
		BlockedBy:     i.BlockedBy,
		Signal:        i.Waits.Name,
		SignalKey:     i.Waits.Key,
		KeyUntil:      i.KeyUntil,
		Worker:        i.Worker,
		Cancelling:    i.Cancelling,
		Dropped:       i.Dropped,
		ProgressDone:  i.Done,
		ProgressTotal: i.Total,
		Payload:       encrypt.Text(i.Payload),
		Result:        encrypt.Text(i.Result),
		Errors:        i.Errors,
		Logs:          i.Logs,
	}
	info.Schedule, info.Tick = engine.TickOf(info.Metadata)
	info.gating(i.Gating)
	return info
}

// Metadata is stored as a JSON object. Anything else, for example from another program,
// is not shown.
func encodeMetadata(m map[string]string) ([]byte, error) {
	if len(m) == 0 {
		return nil, nil
	}
	return json.Marshal(m)
}

// addMetadata returns encoded metadata with pairs that take precedence.
func addMetadata(encoded []byte, pairs map[string]string) ([]byte, error) {
	if len(pairs) == 0 {
		return encoded, nil
	}
	all := decodeMetadata(encoded)
	if all == nil {
		return encodeMetadata(pairs)
	}
	maps.Copy(all, pairs)
	return encodeMetadata(all)
}

func decodeMetadata(b []byte) (m map[string]string) {
	if len(b) == 0 || json.Unmarshal(b, &m) != nil {
		return nil
	}
	return m
}
