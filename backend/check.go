package backend

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds that CheckNewJobs, CheckClaim and CleanError enforce.
const (
	maxName     = 128
	maxDelay    = 100 * 365 * 24 * time.Hour
	maxLease    = 24 * time.Hour
	maxError    = 64 << 10
	maxKey      = 255
	maxMetadata = 64 << 10
	maxPage     = 1000
	maxPer      = 366 * 24 * time.Hour
)

// CheckNewJobs returns an error that matches [ErrInvalid] for the first fault in jobs, or nil.
func CheckNewJobs(jobs []NewJob) error {
	for i := range jobs {
		j := &jobs[i]
		switch {
		case checkName(j.Name) != "":
			return fmt.Errorf("%w: job %d: name %q %s", ErrInvalid, i, j.Name, checkName(j.Name))
		case j.MaxAttempts < 1:
			return fmt.Errorf("%w: job %d: max attempts is %d, must be at least 1", ErrInvalid, i, j.MaxAttempts)
		case j.Delay < 0 || j.Delay > maxDelay:
			return fmt.Errorf("%w: job %d: delay %v is not within 0 and 100 years", ErrInvalid, i, j.Delay)
		case j.Expires < 0 || j.Expires > maxDelay:
			return fmt.Errorf("%w: job %d: expiry in %v is not within 0 and 100 years", ErrInvalid, i, j.Expires)
		case !j.RunAt.IsZero() && j.Delay != 0 || !j.ExpiresAt.IsZero() && j.Expires != 0:
			return fmt.Errorf("%w: job %d: set Delay or RunAt, and Expires or ExpiresAt, not both", ErrInvalid, i)
		case CheckKey(j.Serial) != nil:
			return fmt.Errorf("job %d: serial key: %w", i, CheckKey(j.Serial))
		case j.MaxPending < 0:
			return fmt.Errorf("%w: job %d: MaxPending %d is negative", ErrInvalid, i, j.MaxPending)
		case len(j.Metadata) > maxMetadata:
			return fmt.Errorf("%w: job %d: metadata of %d bytes, at most %d", ErrInvalid, i, len(j.Metadata), maxMetadata)
		}
		if err := checkUnique(j.Unique); err != nil {
			return fmt.Errorf("job %d: unique key: %w", i, err)
		}
	}
	return nil
}

// CheckPayloads returns an error that matches [ErrInvalid] if a payload exceeds limit bytes; zero
// means no limit.
func CheckPayloads(jobs []NewJob, limit int) error {
	for i := range jobs {
		if n := len(jobs[i].Payload); limit > 0 && n > limit {
			return fmt.Errorf("%w: job %d: payload of %d bytes; the store and its driver carry %d at most: "+
				"store the data elsewhere and pass a reference", ErrInvalid, i, n, limit)
		}
	}
	return nil
}

// CheckRecords is [CheckPayloads] for an import.
func CheckRecords(jobs []Record, limit int) error {
	for i := range jobs {
		if n := len(jobs[i].Payload); limit > 0 && n > limit {
			return fmt.Errorf("%w: job #%d: payload of %d bytes; the store and its driver carry %d at most: "+
				"import it into another store", ErrInvalid, jobs[i].ID, n, limit)
		}
	}
	return nil
}

// CheckKey returns an error that matches [ErrInvalid] unless key is a unique or serial key, or empty.
func CheckKey(key string) error {
	switch {
	case len(key) > maxKey:
		return fmt.Errorf("%w: %q… has %d bytes, at most %d", ErrInvalid, clean(key[:32]), len(key), maxKey)
	case !utf8.ValidString(key) || strings.ContainsRune(key, 0):
		return fmt.Errorf("%w: %q is not UTF-8 without NUL", ErrInvalid, key)
	}
	return nil
}

func checkUnique(u Unique) error {
	switch {
	case u.Key == "" && u != Unique{}:
		return fmt.Errorf("%w: it is empty, and Scope, For or Conflict is set", ErrInvalid)
	case u.Scope > UntilStarted:
		return fmt.Errorf("%w: unknown scope %d", ErrInvalid, u.Scope)
	case u.Conflict > Reject:
		return fmt.Errorf("%w: unknown conflict %d", ErrInvalid, u.Conflict)
	case u.For < 0 || u.For > maxDelay:
		return fmt.Errorf("%w: For %v is not within 0 and 100 years", ErrInvalid, u.For)
	case u.Conflict == Replace && (u.Scope != UntilStarted || u.For != 0):
		return fmt.Errorf("%w: Replace needs UntilStarted and no For", ErrInvalid)
	}
	return CheckKey(u.Key)
}

// CheckSettings returns an error that matches [ErrInvalid] for the first fault in settings, or nil.
func CheckSettings(settings []Settings) error {
	for _, s := range settings {
		switch {
		case checkName(s.Name) != "":
			return fmt.Errorf("%w: name %q %s", ErrInvalid, s.Name, checkName(s.Name))
		case s.MaxRunning < 0:
			return fmt.Errorf("%w: %s: MaxRunning %d is negative", ErrInvalid, s.Name, s.MaxRunning)
		case s.MaxCrashes < -math.MaxInt32 || s.MaxCrashes > math.MaxInt32:
			return fmt.Errorf("%w: %s: %d crashes are not within 32 bits", ErrInvalid, s.Name, s.MaxCrashes)
		case s.Rate < 0 || s.Per < 0 || s.Per > maxPer || (s.Rate == 0) != (s.Per == 0):
			return fmt.Errorf("%w: %s: rate %d per %v: both must be positive, and the time at most 366 days", ErrInvalid, s.Name, s.Rate, s.Per)
		}
		if _, err := s.History.Resolve(); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}

// CheckSchedules returns an error that matches [ErrInvalid] for the first fault, or nil.
func CheckSchedules(schedules []Schedule) error {
	for _, s := range schedules {
		switch {
		case checkName(s.Name) != "":
			return fmt.Errorf("%w: schedule %q %s", ErrInvalid, s.Name, checkName(s.Name))
		case len(s.Definition) > maxMetadata || !utf8.ValidString(s.Definition) || strings.ContainsRune(s.Definition, 0):
			return fmt.Errorf("%w: schedule %s: its definition is not UTF-8 without NUL of at most %d bytes", ErrInvalid, s.Name, maxMetadata)
		case s.Next.IsZero():
			return fmt.Errorf("%w: schedule %s has no next tick", ErrInvalid, s.Name)
		}
	}
	return nil
}

// CheckTick returns an error that matches [ErrInvalid] if t has a fault. Tick must call it.
func CheckTick(t Tick) error {
	if !t.Next.After(t.Due) {
		return fmt.Errorf("%w: schedule %s: the tick after %v is %v", ErrInvalid, t.Name, t.Due, t.Next)
	}
	return CheckNewJobs(t.Jobs)
}

func checkFilter(f Filter) error {
	switch {
	case len(f.IDs) > maxPage:
		return fmt.Errorf("%w: %d IDs, at most %d at once", ErrInvalid, len(f.IDs), maxPage)
	case f.State != 0 && !slices.Contains(States(), f.State):
		return fmt.Errorf("%w: unknown %v", ErrInvalid, f.State)
	case !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until):
		return fmt.Errorf("%w: Since %v is not before Until %v", ErrInvalid, f.Since, f.Until)
	}
	return nil
}

// CheckOperate returns an error that matches [ErrInvalid] if req has a fault.
func CheckOperate(req OperateRequest) error {
	switch {
	case req.Op < OpRetry || req.Op > OpFree:
		return fmt.Errorf("%w: unknown operation %d", ErrInvalid, req.Op)
	case req.Limit < 0 || req.Limit > maxPage:
		return fmt.Errorf("%w: operate limit %d is not within 1 and %d", ErrInvalid, req.Limit, maxPage)
	case req.Before < 0:
		return fmt.Errorf("%w: operate before ID %d", ErrInvalid, req.Before)
	case req.Priority != nil && req.Op != OpRetry:
		return fmt.Errorf("%w: operation %d takes no priority; only a retry does", ErrInvalid, req.Op)
	}
	return checkFilter(req.Filter)
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

// CheckClaim returns an error that matches [ErrInvalid] if req has a fault. Claim must call it.
func CheckClaim(req ClaimRequest) error {
	switch {
	case req.Worker.ID <= 0:
		return fmt.Errorf("%w: worker ID %d is not positive", ErrInvalid, req.Worker.ID)
	case req.Worker.Lease < time.Millisecond || req.Worker.Lease > maxLease:
		return fmt.Errorf("%w: lease %v is not within 1ms and 24h", ErrInvalid, req.Worker.Lease)
	case req.Limit < 0:
		return fmt.Errorf("%w: limit %d is negative", ErrInvalid, req.Limit)
	case req.Prefetch < 0 || req.Prefetch > req.Limit:
		return fmt.Errorf("%w: prefetch %d is not within 0 and the limit %d", ErrInvalid, req.Prefetch, req.Limit)
	case req.MaxBytes < 0:
		return fmt.Errorf("%w: byte bound %d is negative", ErrInvalid, req.MaxBytes)
	}
	for _, name := range req.Names {
		if fault := checkName(name); fault != "" {
			return fmt.Errorf("%w: name %q %s", ErrInvalid, name, fault)
		}
	}
	return nil
}

// CheckFailures returns an error that matches [ErrInvalid] for the first fault. Fail must call it.
func CheckFailures(failures []Failure) error {
	for i, f := range failures {
		switch {
		case f.Ending < EndRetry || f.Ending > EndCancelled:
			return fmt.Errorf("%w: failure %d: unknown ending %d", ErrInvalid, i, f.Ending)
		case f.Delay < 0 || f.Delay > maxDelay:
			return fmt.Errorf("%w: failure %d: delay %v is not within 0 and 100 years", ErrInvalid, i, f.Delay)
		case f.Expires < 0 || f.Expires > maxDelay || f.Expires > 0 && f.Ending != EndRelease:
			return fmt.Errorf("%w: failure %d: expiry in %v is not within 0 and 100 years, or the job is not released", ErrInvalid, i, f.Expires)
		}
	}
	return nil
}

// CleanError returns text as a store can keep it: valid UTF-8 without NUL, at most 64 KiB, marked if
// cut. An error text that cannot be stored would leave its job running for ever.
func CleanError(text string) string {
	const mark = " … (cut)"
	if cut := len(text) > maxError; cut {
		text = text[:maxError-len(mark)]
		for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
			text = text[:len(text)-1]
		}
		if r, n := utf8.DecodeLastRuneInString(text); r == utf8.RuneError && n == 1 {
			text = text[:len(text)-1]
		}
		return clean(text) + mark
	}
	return clean(text)
}

func clean(text string) string {
	// One byte for one byte, so that cleaning never lengthens a text.
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "?")
	}
	return strings.ReplaceAll(text, "\x00", "?")
}

// CheckReap returns an error that matches [ErrInvalid] if req has a fault. Reap must call it.
func CheckReap(req ReapRequest) error {
	switch {
	case req.Limit < 0:
		return fmt.Errorf("%w: reap limit %d is negative", ErrInvalid, req.Limit)
	case req.StableFor < 0:
		return fmt.Errorf("%w: StableFor %v is negative", ErrInvalid, req.StableFor)
	}
	return nil
}

// CheckName returns an error that matches [ErrInvalid] unless name is 1 to 128 bytes of UTF-8 without
// NUL.
func CheckName(name string) error {
	if fault := checkName(name); fault != "" {
		return fmt.Errorf("%w: name %q %s", ErrInvalid, name, fault)
	}
	return nil
}
