package check

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
)

// NewJobs returns an error unless a job has valid fields, whatever the store.
func NewJobs(jobs []backend.NewJob) error { return newJobs(jobs, 0) }

// newJobs is NewJobs for jobs that are pushed with a number of new gates.
func newJobs(jobs []backend.NewJob, gates int) error {
	for i := range jobs {
		j := &jobs[i]
		switch {
		case checkName(j.Name) != "":
			return fmt.Errorf("%w: job %d: name %q %s", backend.ErrInvalid, i, j.Name, checkName(j.Name))
		case j.MaxAttempts < 1:
			return fmt.Errorf("%w: job %d: max attempts is %d, must be at least 1", backend.ErrInvalid, i, j.MaxAttempts)
		case j.Delay < 0 || j.Delay > maxDelay:
			return fmt.Errorf("%w: job %d: delay %v is not within 0 and 100 years", backend.ErrInvalid, i, j.Delay)
		case j.Expires < 0 || j.Expires > maxDelay:
			return fmt.Errorf("%w: job %d: expiry in %v is not within 0 and 100 years", backend.ErrInvalid, i, j.Expires)
		case !j.RunAt.IsZero() && j.Delay != 0 || !j.ExpiresAt.IsZero() && j.Expires != 0:
			return fmt.Errorf("%w: job %d: set Delay or RunAt, and Expires or ExpiresAt, not both", backend.ErrInvalid, i)
		case Key(j.Serial) != nil:
			return fmt.Errorf("job %d: serial key: %w", i, Key(j.Serial))
		case Key(j.Fair) != nil:
			return fmt.Errorf("job %d: fair key: %w", i, Key(j.Fair))
		case j.MaxPending < 0:
			return fmt.Errorf("%w: job %d: MaxPending %d is negative", backend.ErrInvalid, i, j.MaxPending)
		case len(j.Metadata) > maxMetadata:
			return fmt.Errorf("%w: job %d: metadata of %d bytes, at most %d", backend.ErrInvalid, i, len(j.Metadata), maxMetadata)
		}
		if err := checkUnique(j.Unique); err != nil {
			return fmt.Errorf("job %d: unique key: %w", i, err)
		}
		if fault := checkGating(j.Gating, gates); fault != "" {
			return fmt.Errorf("%w: job %d: %s", backend.ErrInvalid, i, fault)
		}
	}
	return nil
}

func checkUnique(u backend.Unique) error {
	switch {
	case u.Key == "" && u != backend.Unique{}:
		return fmt.Errorf("%w: it is empty, and Scope, For or Conflict is set", backend.ErrInvalid)
	case u.Scope > backend.UntilStarted:
		return fmt.Errorf("%w: unknown scope %d", backend.ErrInvalid, u.Scope)
	case u.Conflict > backend.Reject:
		return fmt.Errorf("%w: unknown conflict %d", backend.ErrInvalid, u.Conflict)
	case u.For < 0 || u.For > maxDelay:
		return fmt.Errorf("%w: For %v is not within 0 and 100 years", backend.ErrInvalid, u.For)
	case u.Conflict == backend.Replace && (u.Scope != backend.UntilStarted || u.For != 0):
		return fmt.Errorf("%w: Replace needs UntilStarted and no For", backend.ErrInvalid)
	}
	return Key(u.Key)
}

// Payloads returns an error if a payload is longer than limit bytes. Zero means no limit.
func Payloads(jobs []backend.NewJob, limit int) error {
	for i := range jobs {
		if n := len(jobs[i].Payload); limit > 0 && n > limit {
			return fmt.Errorf("%w: job %d: payload of %d bytes; the store and its driver carry %d at most: "+
				"store the data elsewhere and pass a reference", backend.ErrInvalid, i, n, limit)
		}
	}
	return nil
}

// Records is [Payloads] for an import.
func Records(jobs []backend.Record, limit int) error {
	for i := range jobs {
		if n := len(jobs[i].Payload); limit > 0 && n > limit {
			return fmt.Errorf("%w: job #%d: payload of %d bytes; the store and its driver carry %d at most: "+
				"import it into another store", backend.ErrInvalid, jobs[i].ID, n, limit)
		}
	}
	return nil
}

// Key returns an error unless key is a valid unique, serial or fair key, or empty: at most 255
// bytes of UTF-8 without NUL.
func Key(key string) error {
	switch {
	case len(key) > maxKey:
		return fmt.Errorf("%w: %q… has %d bytes, at most %d", backend.ErrInvalid, backend.CleanError(key[:32]), len(key), maxKey)
	case !utf8.ValidString(key) || strings.ContainsRune(key, 0):
		return fmt.Errorf("%w: %q is not UTF-8 without NUL", backend.ErrInvalid, key)
	}
	return nil
}

// Name returns an error unless name is 1 to 128 bytes of UTF-8 without NUL.
func Name(name string) error {
	if fault := checkName(name); fault != "" {
		return fmt.Errorf("%w: name %q %s", backend.ErrInvalid, name, fault)
	}
	return nil
}

func checkName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return "is longer than 128 bytes"
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return "is not UTF-8 without NUL"
	}
	return ""
}
