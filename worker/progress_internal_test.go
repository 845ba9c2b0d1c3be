package worker

import (
	"log/slog"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// What runs report is dropped with them, however they end: the settler never sees those
// that are lost or were completed by their own transaction.
func TestProgressIsForgotten(t *testing.T) {
	opts, err := Options{Logger: slog.New(slog.DiscardHandler)}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t.Context(), &engine.Queue{Backend: memory.New(nil)}, opts, nil, nil)
	t.Cleanup(func() { s.stopHandlers(nil) })
	for _, end := range []func(r *run) outcome{
		func(r *run) outcome { r.state.Store(runLost); return outcome{run: r} },
		func(r *run) outcome { return outcome{run: r, settled: true} },
	} {
		runs := []run{{slots: s.slots, job: &backend.Job{}, def: &engine.Definition{}}}
		s.leases.add(s.leases.row.self.ID, time.Now(), runs)
		s.dispatcher.add(runs, false)
		r := s.dispatcher.next(outcome{}, 0)
		r.Report(1, 2)
		s.dispatcher.close()
		s.dispatcher.next(end(r), 0)
		if len(s.progress.byRun) != 0 {
			t.Error("the progress of a run that has ended is kept")
		}
		if s.leases.held() != 0 {
			t.Error("a run that has ended is held")
		}
		clear(s.progress.byRun)
		r.Report(2, 2) // by a goroutine that the handler left behind
		if len(s.progress.byRun) != 0 {
			t.Error("the progress of a run that has ended is kept again")
		}
	}
}
