package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A runLog is the end of what the handler of a run has logged.
type runLog struct {
	handler slog.Handler // writes to it

	mu      sync.Mutex
	text    []byte
	changed bool // since it was stored
}

func newRunLog(level slog.Leveler) *runLog {
	l := &runLog{}
	l.handler = slog.NewTextHandler(l, &slog.HandlerOptions{Level: level})
	return l
}

// Write implements [io.Writer].
func (l *runLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.text)+len(line) > 2*backend.MaxLog {
		l.text = append(l.text[:0], l.text[max(0, len(l.text)-backend.MaxLog):]...)
	}
	l.text = append(l.text, line...)
	l.changed = true
	return len(line), nil
}

// take returns the log if it has changed since the last call, or an empty string.
func (l *runLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		return ""
	}
	l.changed = false
	return string(l.text)
}

// putBack makes take return the log again.
func (l *runLog) putBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = true
}

var (
	_ engine.LogKeeper = (*run)(nil)
	_ engine.LogKeeper = (*batch)(nil)
)

// LogHandler implements [engine.LogKeeper].
func (r *run) LogHandler() slog.Handler { return r.slots.progress.logHandler(r) }

// LogHandler implements [engine.LogKeeper]: the first job has the log of the batch.
func (b *batch) LogHandler() slog.Handler { return b.runs[0].LogHandler() }

// logHandler returns what writes to the log of a run, or nil if it is not stored.
func (p *progress) logHandler(r *run) slog.Handler {
	if _, ok := p.setup.store.(backend.Heartbeater); !ok || p.queue.StoreLogs == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.running.Load() { // a goroutine that a handler left behind may still log
		return nil
	}
	l := p.logs[r]
	if l == nil {
		if p.logs == nil {
			p.logs = map[*run]*runLog{}
		}
		l = newRunLog(p.queue.StoreLogs)
		p.logs[r] = l
	}
	return l.handler
}

// logLoop stores the logs of running handlers as often as the worker sends heartbeats, until ctx
// ends.
func (p *progress) logLoop(ctx context.Context) {
	ticker := time.NewTicker(p.opts.Lease / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var runs []*run
		p.mu.Lock()
		for r := range p.logs {
			if r.state.Load() == runRuns {
				runs = append(runs, r)
			}
		}
		p.mu.Unlock()
		p.storeLogs(ctx, runs)
	}
}

// maxLogs is how many logs are stored at once.
const maxLogs = 64

// storeLogs stores the logs of runs that have changed.
func (p *progress) storeLogs(ctx context.Context, runs []*run) {
	var batch []backend.Progress
	var taken []*runLog
	store := func() {
		if !p.store(ctx, batch) {
			for _, l := range taken {
				l.putBack()
			}
		}
		batch, taken = batch[:0], taken[:0]
	}
	for _, r := range runs {
		p.mu.Lock()
		l := p.logs[r]
		p.mu.Unlock()
		if l == nil {
			continue
		}
		text := l.take()
		if text == "" {
			continue
		}
		batch, taken = append(batch, backend.Progress{Lease: r.job.Lease, Log: p.queue.EncryptLog(r.job.Name, text)}), append(taken, l)
		if len(batch) == maxLogs {
			store()
		}
	}
	if len(batch) > 0 {
		store()
	}
}
