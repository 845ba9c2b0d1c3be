package backend

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A Record is a stored job with everything that belongs to it.
type Record struct {
	// Info is complete. Worker, BlockedBy and StartedAt are for people; Import ignores them.
	Info
	Scope Scope // of the unique key
}

// An ExportRequest asks for a page.
type ExportRequest struct {
	After int64 // only IDs above
	Jobs  int   // how many to return, at most 1000; zero means none
}

// MaxBatch is the maximum number of jobs, and of schedules, in a [Batch].
const MaxBatch = maxPage

// A Batch is what Export returns and Import takes.
type Batch struct {
	LastID    int64 // the greatest ID that the store has assigned
	Jobs      []Record
	Schedules []Schedule // only for Import; [Scheduler] shows them
}

// An ImportResult says what Import did.
type ImportResult struct {
	Stored, Present int     // new jobs, and jobs that were there already
	Superseded      []int64 // stored jobs that are Cancelled because another has their unique key
	Pruned          []int64 // finished jobs left out because their retention has ended
}

// CheckExport returns an error that matches [ErrInvalid] if req has a fault.
func CheckExport(req ExportRequest) error {
	switch {
	case req.After < 0:
		return fmt.Errorf("%w: export after ID %d", ErrInvalid, req.After)
	case req.Jobs < 0 || req.Jobs > maxPage:
		return fmt.Errorf("%w: export of %d jobs is not within 0 and %d", ErrInvalid, req.Jobs, maxPage)
	}
	return nil
}

// MaxID is the greatest ID that may be imported. JSON keeps integers up to it exactly, and a store
// can still assign IDs above it.
const MaxID = 1<<53 - 1

// CheckBatch returns an error that matches [ErrInvalid] for the first fault in b, or nil.
func CheckBatch(b Batch) error {
	if b.LastID < 0 || b.LastID > MaxID {
		return fmt.Errorf("%w: the last ID is %d, not within 0 and %d", ErrInvalid, b.LastID, int64(MaxID))
	}
	if n := max(len(b.Jobs), len(b.Schedules)); n > MaxBatch {
		return fmt.Errorf("%w: a batch of %d, at most %d", ErrInvalid, n, MaxBatch)
	}
	last := int64(0)
	for i := range b.Jobs {
		r := &b.Jobs[i]
		if r.ID <= last || r.ID > MaxID {
			return fmt.Errorf("%w: job %d comes after job %d; IDs ascend and are within 1 and %d", ErrInvalid, r.ID, last, int64(MaxID))
		}
		last = r.ID
		if fault := r.validate(); fault != "" {
			return fmt.Errorf("%w: job %d: %s", ErrInvalid, r.ID, fault)
		}
	}
	return CheckSchedules(b.Schedules)
}

// validate returns what is wrong with r, or nothing.
func (r *Record) validate() string {
	switch {
	case checkName(r.Name) != "":
		return fmt.Sprintf("name %q %s", r.Name, checkName(r.Name))
	case !slices.Contains(States(), r.State):
		return fmt.Sprintf("unknown %v", r.State)
	case r.MaxAttempts < 1:
		return fmt.Sprintf("max attempts is %d, must be at least 1", r.MaxAttempts)
	case r.Failures < 0 || r.Failures > math.MaxInt32 || r.Crashes < 0 || r.Crashes > math.MaxInt32:
		return fmt.Sprintf("%d failures and %d crashes", r.Failures, r.Crashes)
	case CheckKey(r.UniqueKey) != nil:
		return fmt.Sprintf("unique key: %v", CheckKey(r.UniqueKey))
	case CheckKey(r.SerialKey) != nil:
		return fmt.Sprintf("serial key: %v", CheckKey(r.SerialKey))
	case r.State == Blocked && r.SerialKey == "":
		return "it is blocked and has no serial key"
	case r.Scope > UntilStarted || r.UniqueKey == "" && (r.Scope != 0 || !r.KeyUntil.IsZero()):
		return "the scope of its unique key is unknown, or it has none"
	case r.State.Terminal() == r.FinishedAt.IsZero():
		return fmt.Sprintf("it is %v and finished at %v", r.State, r.FinishedAt)
	case r.Cancelling && r.State != Running:
		return "it is to be cancelled and does not run"
	case len(r.Metadata) > maxMetadata:
		return fmt.Sprintf("metadata of %d bytes, at most %d", len(r.Metadata), maxMetadata)
	case len(r.Errors) > maxErrors:
		return fmt.Sprintf("%d errors, at most %d", len(r.Errors), maxErrors)
	}
	for _, t := range []time.Time{r.CreatedAt, r.RunAt, r.FinishedAt, r.ExpiresAt, r.KeyUntil} {
		if !t.IsZero() && (t.Year() < 1970 || t.Year() > 9999) {
			return fmt.Sprintf("the time %v is not within 1970 and 9999", t)
		}
	}
	if r.CreatedAt.IsZero() || r.RunAt.IsZero() {
		return "it has no time at which it was pushed, or is to run"
	}
	for _, e := range r.Errors {
		if e.At.IsZero() || e.Attempt < 1 {
			return "an error has no time or no attempt"
		}
	}
	return ""
}

// maxErrors is how many errors of a job are kept.
const maxErrors = 10

// Imported returns r as Import stores it. A running job is released, or Cancelled if an operator had
// cancelled it. Errors are cleaned.
func (r Record) Imported(now time.Time) Record {
	r.Errors = slices.Clone(r.Errors)
	for i := range r.Errors {
		e := &r.Errors[i]
		e.Error, e.Stack = CleanError(e.Error), CleanError(e.Stack)
	}
	if r.State == Running {
		if r.State = Pending; r.Cancelling {
			r.Cancel(CancelledError, now)
		}
		r.Worker, r.Cancelling = 0, false
	}
	return r
}

// Cancel ends r as Cancelled with an error text.
func (r *Record) Cancel(text string, now time.Time) {
	r.State, r.FinishedAt = Cancelled, now
	r.Errors = append(r.Errors, RunError{Attempt: r.Failures + 1, At: now, Error: text})
	if len(r.Errors) > maxErrors {
		r.Errors = slices.Delete(r.Errors, 0, len(r.Errors)-maxErrors)
	}
}

// Waiting returns Scheduled or Pending, the state of r as a job that waits and is not blocked.
func (r *Record) Waiting(now time.Time) State {
	if r.RunAt.After(now) {
		return Scheduled
	}
	return Pending
}

// CheckPresent returns an error that matches [ErrDuplicate] if the stored job with r's ID, of which
// name and creation are given, is another job.
func (r *Record) CheckPresent(name string, created time.Time) error {
	if r.Name == name && r.CreatedAt.UnixMicro() == created.UnixMicro() {
		return nil
	}
	return fmt.Errorf("%w: job %d of the store is another one, %s of %s; import into a store that has not given these IDs",
		ErrDuplicate, r.ID, quoted(name), created.UTC().Format(time.RFC3339))
}

// quoted returns a name for a message.
func quoted(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return fmt.Sprintf("%q", name)
	}
	return name
}
