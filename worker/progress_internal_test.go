package worker

import (
	"log/slog"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// What runs tell is kept no longer than they are, however they end: those that
// are lost, or were completed by their own transaction, the settler never sees.
func TestProgressIsForgotten(t *testing.T) {
	opts, err := Options{Logger: slog.New(slog.DiscardHandler)}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(&engine.Queue{Backend: memory.New(nil)}, opts, nil, nil)
	for _, end := range []func(r *run) outcome{
		func(r *run) outcome { r.state = runLost; return outcome{run: r} },
		func(r *run) outcome { return outcome{run: r, settled: true} },
	} {
		r := &run{s: s, job: &backend.Job{}, def: &engine.Definition{}, state: runRuns, running: true}
		s.mu.Lock()
		s.addRun(r)
		s.mu.Unlock()
		r.Report(1, 2)
		s.mu.Lock()
		s.finish(end(r))
		if len(s.progressByRun) != 0 {
			t.Error("a run that is over is still held")
		}
		clear(s.progressByRun)
		s.mu.Unlock()
		r.Report(2, 2) // by a goroutine that the handler left behind
		s.mu.Lock()
		if len(s.progressByRun) != 0 {
			t.Error("a run that is over is held again")
		}
		s.mu.Unlock()
	}
}
