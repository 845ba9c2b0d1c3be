package worker

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// What is not stored when a process dies runs again, so slots wait when too many ends
// are not stored.
func TestUnsettledRunsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts, err := Options{Logger: slog.New(slog.DiscardHandler)}.resolve()
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(t.Context(), &engine.Queue{Backend: memory.New(nil)}, opts, nil, nil)
		defer s.stopHandlers(nil)
		var added atomic.Int64
		go func() {
			for range maxUnsettled + 10 {
				for !s.unsettled.offer(&run{job: &backend.Job{}}, nil) {
					s.unsettled.waitForRoom()
				}
				added.Add(1)
			}
		}()
		synctest.Wait()
		if n := added.Load(); n != maxUnsettled {
			t.Errorf("%d runs are unsettled, want at most %d", n, maxUnsettled)
		}
		go s.settler.loop()
		synctest.Wait()
		if n := added.Load(); n != maxUnsettled+10 {
			t.Errorf("%d runs were settled, want %d", n, maxUnsettled+10)
		}
		s.unsettled.close(time.Now().Add(10 * time.Second))
		<-s.settler.done
	})
}
