package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
)

// Imported returns r as Import stores it. A running job is released, or Cancelled if an operator had
// cancelled it. Errors are cleaned.
func Imported(r backend.Record, now time.Time) backend.Record {
	r.Errors = slices.Clone(r.Errors)
	for i := range r.Errors {
		e := &r.Errors[i]
		e.Error, e.Stack = backend.CleanError(e.Error), backend.CleanError(e.Stack)
	}
	if r.State == backend.Running {
		if r.State = backend.Pending; r.Cancelling {
			cancelRecord(&r, backend.CancelledError, now)
		}
		r.Worker, r.Cancelling = 0, false
	}
	return r
}

// SupersedeRecord cancels r because the job with the ID by has its unique key.
func SupersedeRecord(r *backend.Record, by int64, now time.Time) {
	cancelRecord(r, fmt.Sprint(backend.SupersededError, by), now)
}

func cancelRecord(r *backend.Record, text string, now time.Time) {
	r.State, r.FinishedAt = backend.Cancelled, now
	r.Errors = AppendError(r.Errors, backend.RunError{Attempt: r.Failures + 1, At: now, Error: text})
}

// CheckPresent returns an error that matches [backend.ErrDuplicate] if the stored job with r's ID, of which
// name and creation are given, is another job.
func CheckPresent(r *backend.Record, name string, created time.Time) error {
	if r.Name == name && r.CreatedAt.UnixMicro() == created.UnixMicro() {
		return nil
	}
	return fmt.Errorf("%w: job %d of the store is another one, %s of %s; import into a store that has not given these IDs",
		backend.ErrDuplicate, r.ID, quoted(name), created.UTC().Format(time.RFC3339))
}

// quoted returns a name for a message.
func quoted(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return fmt.Sprintf("%q", name)
	}
	return name
}
