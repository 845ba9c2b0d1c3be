package backend

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds that CheckNewJobs, CheckClaim and CleanError enforce.
const (
	maxName  = 128
	maxDelay = 100 * 365 * 24 * time.Hour
	maxLease = 24 * time.Hour
	maxError = 64 << 10
)

// CheckNewJobs returns an error matching [ErrInvalid] that names the first
// fault in jobs by its index, or nil. Push must call it before it writes.
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
		}
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

// CheckClaim returns an error matching [ErrInvalid] that names what is wrong
// with req, or nil. Claim must call it before it writes.
func CheckClaim(req ClaimRequest) error {
	switch {
	case req.Worker.ID <= 0:
		return fmt.Errorf("%w: worker ID %d is not positive", ErrInvalid, req.Worker.ID)
	case req.Worker.Lease < time.Millisecond || req.Worker.Lease > maxLease:
		return fmt.Errorf("%w: lease %v is not within 1ms and 24h", ErrInvalid, req.Worker.Lease)
	case req.Limit < 0:
		return fmt.Errorf("%w: limit %d is negative", ErrInvalid, req.Limit)
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

// CheckFailures returns an error matching [ErrInvalid] that names the first
// fault in failures by its index, or nil. Fail must call it before it writes.
func CheckFailures(failures []Failure) error {
	for i, f := range failures {
		switch {
		case f.Ending < EndRetry || f.Ending > EndCancelled:
			return fmt.Errorf("%w: failure %d: unknown ending %d", ErrInvalid, i, f.Ending)
		case f.Delay < 0 || f.Delay > maxDelay:
			return fmt.Errorf("%w: failure %d: delay %v is not within 0 and 100 years", ErrInvalid, i, f.Delay)
		}
	}
	return nil
}

// CleanError returns text as a store may keep it: valid UTF-8 without NUL, at
// most 64 KiB, with a mark where it was cut. A failure that cannot be stored
// because of its words would leave its job running for ever.
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

// CheckReap returns an error matching [ErrInvalid] that names what is wrong
// with req, or nil. Reap must call it before it writes.
func CheckReap(req ReapRequest) error {
	switch {
	case req.Limit < 0:
		return fmt.Errorf("%w: reap limit %d is negative", ErrInvalid, req.Limit)
	case req.Steady < 0:
		return fmt.Errorf("%w: steady %v is negative", ErrInvalid, req.Steady)
	}
	return nil
}
