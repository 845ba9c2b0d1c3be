package lifecycle

import (
	"cmp"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// StateAfter returns the state of a job whose run ends with e and the given delay.
func StateAfter(e backend.Ending, delay time.Duration) backend.State {
	switch e {
	case backend.EndFailed:
		return backend.Failed
	case backend.EndCancelled:
		return backend.Cancelled
	case backend.EndRetry, backend.EndSnooze, backend.EndSleep:
		if delay > 0 {
			return backend.Scheduled
		}
	}
	return backend.Pending
}

// SpendsAttempt reports whether e costs the job an attempt.
func SpendsAttempt(e backend.Ending) bool { return e == backend.EndRetry || e == backend.EndFailed }

// Condemns reports whether s fails a job that has crashed its workers that many times.
func Condemns(s backend.Settings, crashes int) bool {
	most := cmp.Or(s.MaxCrashes, backend.DefaultMaxCrashes)
	return most > 0 && crashes >= most
}
