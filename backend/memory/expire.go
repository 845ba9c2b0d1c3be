package memory

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// expire lets j, which waits or is new, expire after d; zero is never.
func (b *Backend) expire(j *job, d time.Duration, now int64) {
	if d == 0 && (j.more == nil || j.more.expires == 0) {
		return
	}
	m := j.extra()
	if m.expires != 0 {
		m.expires = 0
		b.expiries.drop()
	}
	if d > 0 {
		m.expires = now + d.Microseconds()
		b.expiries.push(m.expires, 0, j)
	}
}

// expires reports whether e is a job that waits and expires at e's time.
func (e entry) expires() bool { return e.job.more.expires == e.key && waits(e.job.state) }

// expired reports whether j, which waits, was to be started before now.
func (j *job) expired(now int64) bool {
	return j.more != nil && j.more.expires != 0 && j.more.expires <= now
}

// cancelExpired ends a job that has expired.
func (b *Backend) cancelExpired(j *job, now int64) {
	j.record(backend.ExpiredError, "", now)
	b.move(j, backend.Cancelled, now)
}

// cancelAllExpired ends at most limit waiting jobs that have expired, and
// returns how many it were.
func (b *Backend) cancelAllExpired(now int64, limit int) int {
	for n := range limit {
		j := b.expiries.peek()
		if j == nil || !j.expired(now) {
			return n
		}
		b.cancelExpired(j, now)
	}
	return limit
}
