package memory

// expires reports whether e is a waiting job that expires at e's time.
func (e entry) expires() bool { return e.job.ExpiresAt == e.key && e.job.State.Waits() }

// cancelExpired cancels an expired job.
func (b *Backend) cancelExpired(j *job, now int64) {
	next, e := j.Expire(now)
	j.record(e)
	b.move(j, next, now)
}

// cancelAllExpired cancels at most limit expired jobs, and returns their number.
func (b *Backend) cancelAllExpired(now int64, limit int) int {
	for n := range limit {
		j := b.expiries.peek()
		if j == nil || !j.Expired(now) {
			return n
		}
		b.cancelExpired(j, now)
	}
	return limit
}
