package lifecycle

import (
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const longest = 100 * 365 * 24 * time.Hour

// Timed reports whether j has an instant, which [CountFrom] replaces.
func Timed(j *backend.NewJob) bool { return !j.RunAt.IsZero() || !j.ExpiresAt.IsZero() }

// CountFrom returns jobs with RunAt and ExpiresAt replaced by Delay and Expires, counted from now,
// the store's clock at the push. A store that calls it first handles no instants otherwise. It
// returns jobs itself if none has an instant, and an error that matches [backend.ErrInvalid] if a job
// expires by now or before it may run. A job that waits behind a gate keeps its instants, for
// [Behind]: its Delay and Expires count from another time.
func CountFrom(jobs []backend.NewJob, now time.Time) ([]backend.NewJob, error) {
	counted, copied := jobs, false
	for i := range jobs {
		if !Timed(&jobs[i]) {
			continue
		}
		if !copied {
			counted, copied = append([]backend.NewJob(nil), jobs...), true
		}
		j, given := &counted[i], counted[i]
		if !j.RunAt.IsZero() {
			j.Delay, j.RunAt = max(0, between(now, j.RunAt)), time.Time{}
		}
		if at := j.ExpiresAt; !at.IsZero() {
			j.Expires, j.ExpiresAt = between(now, at), time.Time{}
			switch {
			case j.Expires <= 0:
				return nil, fmt.Errorf("%w: job %d: it expires at %v, which has passed: the store's clock shows %v", backend.ErrInvalid, i, at.UTC(), now.UTC())
			case j.Delay >= j.Expires:
				return nil, fmt.Errorf("%w: job %d: it expires at %v, which is before the task's own time, %v from now", backend.ErrInvalid, i, at.UTC(), j.Delay)
			}
		}
		if max(j.Delay, j.Expires) > longest {
			return nil, fmt.Errorf("%w: job %d: its times are not within 100 years", backend.ErrInvalid, i)
		}
		if Gated(&given) {
			*j = given
		}
	}
	return counted, nil
}

// between returns the time from a to b, both in whole microseconds, as stores keep them.
func between(a, b time.Time) time.Duration {
	return time.UnixMicro(b.UnixMicro()).Sub(time.UnixMicro(a.UnixMicro()))
}
