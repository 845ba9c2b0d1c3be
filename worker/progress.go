package worker

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// progressEvery is how often what handlers tell is stored, at most.
const progressEvery = time.Second

// told is how far a run has come.
type told struct{ done, total int64 }

// progress stores how far runs have come, at most once in progressEvery, until
// ctx ends. What a run told is overwritten by what it tells later.
func (s *session) progress(ctx context.Context) {
	store, ok := s.store.(backend.Progresser)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.progressed:
		}
		s.mu.Lock()
		var batch []backend.Progress
		for r, t := range s.told {
			if r.state == runRuns {
				batch = append(batch, backend.Progress{Lease: r.job.Lease, Done: t.done, Total: t.total})
			}
		}
		clear(s.told)
		s.mu.Unlock()
		if ok && len(batch) > 0 {
			limited, cancel := context.WithTimeout(ctx, s.opts.Lease/3)
			if err := store.Progress(limited, batch); err != nil && ctx.Err() == nil && !permanent(err) {
				s.log.complain("progress", err)
			}
			cancel()
		}
		timer := time.NewTimer(progressEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// Tell notes how far a run has come.
func (r *run) Tell(done, total int64) {
	s := r.s
	s.mu.Lock()
	if s.told == nil {
		s.told = map[*run]told{}
	}
	s.told[r] = told{done, total}
	s.mu.Unlock()
	select {
	case s.progressed <- struct{}{}:
	default:
	}
}
