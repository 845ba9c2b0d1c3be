package memory

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// expiredPerClaim is how many expired jobs a claim cancels beyond its limit.
const expiredPerClaim = 1000

// Claim implements [backend.Backend].
func (b *Backend) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if err := check.Claim(req); err != nil {
		return nil, fmt.Errorf("memory: claim: %w", err)
	}
	if err := b.enter(ctx, "claim"); err != nil {
		return nil, err
	}
	defer b.leave()
	now := b.now()
	w, err := b.renew(req.Worker, req.Register, now)
	if err != nil {
		return nil, fmt.Errorf("memory: claim: %w", err)
	}
	if req.Limit == 0 {
		return nil, nil
	}
	b.promote(now, -1)
	s := b.search(&req, now)
	if req.Suspects {
		if j, source := s.best((*name).suspectJobs); j != nil {
			if p, _ := s.best((*name).pendingJobs); p == nil || first(j, p) {
				return []backend.Job{s.take(j, source, w)}, nil
			}
		}
	}
	maxBytes := cmp.Or(req.MaxBytes, backend.DefaultMaxBytes)
	var jobs []backend.Job
	for bytes := 0; len(jobs) < req.Limit; {
		j, source := s.best((*name).pendingJobs)
		if j == nil {
			break
		}
		bytes += len(j.payload)
		if bytes > maxBytes && len(jobs) > 0 {
			break
		}
		if jobs == nil {
			jobs = make([]backend.Job, 0, min(req.Limit, s.pending()))
		}
		jobs = append(jobs, s.take(j, source, w))
	}
	return jobs, nil
}

// A search finds the jobs that a claim may return.
type search struct {
	*Backend
	now     int64
	sources []source
	slots   int // how many jobs of limited names may be returned
	expired int // how many jobs the search may still cancel, because they have expired, or block
}

// A source is a name whose jobs a claim may return.
type source struct {
	*name
	left int // how many
}

// search returns the search for a request.
func (b *Backend) search(req *backend.ClaimRequest, now int64) search {
	s := search{Backend: b, now: now, slots: req.Limit - req.Prefetch, expired: req.Limit + expiredPerClaim}
	if b.paused {
		return s
	}
	s.sources = make([]source, 0, len(req.Names))
	for _, text := range req.Names {
		n := b.names[text]
		if n == nil || n.paused {
			continue
		}
		left := n.allows(now)
		if most, ok := req.MaxPerName[text]; ok {
			left = min(left, most)
		}
		if left > 0 {
			s.sources = append(s.sources, source{n, left})
		}
	}
	return s
}

// pending returns the maximum number of jobs to find.
func (s *search) pending() int {
	n := 0
	for i := range s.sources {
		n += int(s.sources[i].counts[backend.Pending])
	}
	return n
}

// best returns the first job and its source, or nil. It cancels expired jobs that it
// meets, and blocks members of paused gates.
func (s *search) best(of func(*name) *queue) (found *job, from *source) {
	for i := range s.sources {
		c := &s.sources[i]
		if c.left == 0 || s.slots == 0 && c.settings.Limited() {
			continue
		}
		j := of(c.name).peek()
		for ; j != nil && (j.Expired(s.now) || s.pausedFor(j)); j = of(c.name).peek() {
			if s.expired--; s.expired < 0 {
				return nil, nil
			}
			if j.Expired(s.now) {
				s.cancelExpired(j, s.now)
			} else {
				s.hold(j, s.now)
			}
		}
		if j != nil && (found == nil || first(j, found)) {
			found, from = j, c
		}
	}
	return found, from
}

// take leases j to w.
func (s *search) take(j *job, from *source, w *worker) backend.Job {
	from.left--
	if from.settings.Limited() {
		s.slots--
		from.rate.add(lifecycle.RateOf(from.settings), s.now)
	}
	s.token++
	job := backend.Job{
		Lease:       backend.Lease{ID: j.id, Token: s.token},
		Name:        j.name.text,
		Payload:     j.payload,
		Priority:    j.Priority,
		Attempt:     j.Failures + 1,
		MaxAttempts: j.maxAttempts,
		Suspect:     j.Suspect,
		CreatedAt:   lifecycle.Time(j.created),
		RunAt:       lifecycle.Time(j.RunAt),
	}
	if m := j.more; m != nil {
		job.Metadata = m.metadata
		job.Gating = s.gatingOf(j)
		job.UniqueKey, job.SerialKey, job.HasSteps = m.unique, m.serial, len(m.steps) > 0
	}
	if j.ExpiresAt != 0 {
		job.Expires = time.Duration(j.ExpiresAt-s.now) * time.Microsecond
	}
	s.move(j, j.Claim(w.ID, s.token), s.now)
	w.hold(j)
	return job
}

// promote makes at most limit due jobs pending, or all if limit is negative, and
// returns their number.
func (b *Backend) promote(now int64, limit int) int {
	n := 0
	for ; n != limit; n++ {
		j := b.due.peek()
		if j == nil || j.RunAt > now {
			break
		}
		b.move(j, j.Ready(now), now)
	}
	return n
}
