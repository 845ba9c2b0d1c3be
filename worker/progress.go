package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// progressEvery is how often what handlers tell is stored, at most.
const progressEvery = time.Second

// progressValue is how far a run has come.
type progressValue struct{ done, total int64 }

// progress stores how far runs have come, at most once in progressEvery, until
// ctx ends. What a run told is overwritten by what it tells later.
func (s *session) progress(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.progressed:
		}
		s.mu.Lock()
		var batch []backend.Progress
		for r, t := range s.progressByRun {
			if r.state == runRuns {
				batch = append(batch, t.forRun(r))
				delete(s.progressByRun, r)
			}
		}
		s.mu.Unlock()
		s.storeProgress(ctx, batch)
		timer := time.NewTimer(progressEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// Await implements [engine.Teller].
func (r *run) Await() (warn func(*backend.Info, time.Duration), done func()) {
	s := r.s
	s.mu.Lock()
	if r.awaits++; r.awaits == 1 {
		s.awaiting++
	}
	if s.suspect == r {
		s.queue.SuspectLock.Join() // what it awaits may run here
	}
	s.mu.Unlock()
	warn = func(awaited *backend.Info, waited time.Duration) {
		s.mu.Lock()
		full := s.awaiting >= s.opts.Concurrency
		s.mu.Unlock()
		text := "plainjobs: a handler awaits a job that has not started, and holds its slot meanwhile"
		if full {
			text = "plainjobs: all slots of this worker await other jobs, so that it starts none: have the awaited jobs run by another worker " +
				"(Options.Jobs), or return Snooze instead of waiting"
		}
		s.opts.Logger.Warn(text, append(attrs(r), slog.String("awaits", awaited.Name), slog.Int64("awaited", awaited.ID),
			slog.String("state", awaited.State.String()), slog.Int("slots", s.opts.Concurrency), slog.Duration("for", waited))...)
	}
	done = func() {
		s.mu.Lock()
		if r.awaits--; r.awaits == 0 {
			s.awaiting--
		}
		s.mu.Unlock()
	}
	return warn, done
}

// forRun returns what the store takes.
func (t progressValue) forRun(r *run) backend.Progress {
	return backend.Progress{Lease: r.job.Lease, Done: t.done, Total: t.total}
}

// finalProgress takes out what the runs of a batch have told that are over. The
// caller holds mu.
func (s *session) finalProgress(batch []entry) (last []backend.Progress) {
	if len(s.progressByRun) == 0 {
		return nil
	}
	for _, e := range batch {
		if t, ok := s.progressByRun[e.run]; ok {
			last = append(last, t.forRun(e.run))
			delete(s.progressByRun, e.run)
		}
	}
	return last
}

func (s *session) storeProgress(ctx context.Context, batch []backend.Progress) {
	store, ok := s.store.(backend.Heartbeater)
	if !ok || len(batch) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, s.opts.Lease/3)
	defer cancel()
	if err := store.StoreProgress(limited, batch); err != nil && ctx.Err() == nil && !permanent(err) {
		s.log.warn("store progress", err)
	}
}

// Report notes how far a run has come.
func (r *run) Report(done, total int64) {
	s := r.s
	if _, ok := s.store.(backend.Heartbeater); !ok {
		s.keepsNoProgress(r.job.Name)
		return
	}
	s.mu.Lock()
	if r.running { // a handler may leave a goroutine behind that goes on reporting
		if s.progressByRun == nil {
			s.progressByRun = map[*run]progressValue{}
		}
		s.progressByRun[r] = progressValue{done, total}
	}
	s.mu.Unlock()
	select {
	case s.progressed <- struct{}{}:
	default:
	}
}

// keepsNoProgress says in the log, once for each name, that what a job's handler
// tells is not kept.
func (s *session) keepsNoProgress(name string) {
	s.mu.Lock()
	said := s.untold[name]
	if !said {
		if s.untold == nil {
			s.untold = map[string]bool{}
		}
		s.untold[name] = true
	}
	s.mu.Unlock()
	if !said {
		s.opts.Logger.Warn("plainjobs: the handler calls Progress, and this store keeps no progress: leave the call out, or use another store",
			slog.String("job", name), slog.String("store", fmt.Sprintf("%T", s.store)))
	}
}
