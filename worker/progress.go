package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// progressInterval is the shortest time between two writes of progress.
const progressInterval = time.Second

// progress stores how far runs have come. What a run reports replaces what it has
// reported before.
type progress struct {
	*setup
	changed chan struct{} // runs have reported

	mu    sync.Mutex
	byRun map[*run]progressValue
	// warned are the names whose progress the log says is not kept.
	warned map[string]bool
	logs   map[*run]*runLog // what handlers have logged; see runlog.go
}

// A progressValue is how far a run has come.
type progressValue struct{ done, total int64 }

func newProgress(s *setup) *progress {
	return &progress{setup: s, changed: make(chan struct{}, 1), byRun: map[*run]progressValue{}, warned: map[string]bool{}}
}

// loop stores what the runs report, at most once in progressInterval, until ctx ends.
func (p *progress) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		p.store(ctx, p.take())
		timer := time.NewTimer(progressInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// take removes and returns what running handlers have reported.
func (p *progress) take() (batch []backend.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, v := range p.byRun {
		if r.state.Load() == runRuns {
			batch = append(batch, v.of(r))
			delete(p.byRun, r)
		}
	}
	return batch
}

// storeLast stores what runs that have ended have reported last.
func (p *progress) storeLast(ctx context.Context, ended []entry) {
	var batch []backend.Progress
	p.mu.Lock()
	if len(p.byRun) > 0 {
		for _, e := range ended {
			if v, ok := p.byRun[e.run]; ok {
				batch = append(batch, v.of(e.run))
				delete(p.byRun, e.run)
			}
		}
	}
	logged := len(p.logs) > 0
	p.mu.Unlock()
	p.store(ctx, batch)
	if logged {
		runs := make([]*run, len(ended))
		for i := range ended {
			runs[i] = ended[i].run
		}
		p.storeLogs(ctx, runs)
	}
}

// forget drops what runs have reported.
func (p *progress) forget(runs []*run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byRun) > 0 || len(p.logs) > 0 {
		for _, r := range runs {
			delete(p.byRun, r)
			delete(p.logs, r)
		}
	}
}

func (v progressValue) of(r *run) backend.Progress {
	return backend.Progress{Lease: r.job.Lease, Done: v.done, Total: v.total}
}

// store stores a batch and reports whether the store accepted it.
func (p *progress) store(ctx context.Context, batch []backend.Progress) bool {
	store, ok := p.setup.store.(backend.Heartbeater)
	if !ok || len(batch) == 0 {
		return true
	}
	limited, cancel := context.WithTimeout(ctx, p.opts.Lease/3)
	defer cancel()
	err := store.StoreProgress(limited, batch)
	if err != nil && ctx.Err() == nil && !permanent(err) {
		p.log.warn("store progress", err)
	}
	return err == nil
}

// report notes how far a run has come.
func (p *progress) report(r *run, v progressValue) {
	if _, ok := p.setup.store.(backend.Heartbeater); !ok {
		p.warnNotKept(r.job.Name)
		return
	}
	p.mu.Lock()
	if r.running.Load() { // a goroutine that a handler left behind may still report
		p.byRun[r] = v
	}
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// warnNotKept logs, once for each name, that the store keeps no progress.
func (p *progress) warnNotKept(name string) {
	p.mu.Lock()
	warned := p.warned[name]
	p.warned[name] = true
	p.mu.Unlock()
	if !warned {
		p.opts.Logger.Warn("plainjobs: the handler calls Progress, and this store keeps no progress: leave the call out, or use another store",
			slog.String("job", name), slog.String("store", fmt.Sprintf("%T", p.setup.store)))
	}
}
