package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// A heartbeat is the time when the store last answered the worker. The last claim would
// not do: a healthy worker claims nothing while all its slots are busy.
type heartbeat struct{ at atomic.Int64 }

func (p *heartbeat) onHeartbeat(at time.Time) { p.at.Store(at.UnixNano()) }

// serve answers requests at an address until stop is called.
func (p *heartbeat) serve(ctx context.Context, s *screen, address string, now func() time.Time) (stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--probe: %w", err)
	}
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			code, text := p.health(now())
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(code)
			fmt.Fprintln(w, text)
		}),
	}
	go func() { _ = server.Serve(l) }() // Close ends it
	s.say("probe at http://%s", l.Addr())
	return func() { _ = server.Close() }, nil
}

func (p *heartbeat) health(now time.Time) (code int, text string) {
	at := p.at.Load()
	if at == 0 {
		return http.StatusServiceUnavailable, "the store has not answered yet"
	}
	silent := now.Sub(time.Unix(0, at))
	if silent >= lease {
		return http.StatusServiceUnavailable, fmt.Sprintf("the store has not answered for %v", silent.Round(time.Second))
	}
	return http.StatusOK, fmt.Sprintf("ok: the store answered %v ago", silent.Round(time.Millisecond))
}
