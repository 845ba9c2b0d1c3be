package worker

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// A backoff grows from 50 ms to 5 s, with jitter.
type backoff struct{ current time.Duration }

func newBackoff() *backoff { return &backoff{current: 50 * time.Millisecond} }

func (p *backoff) reset() { p.current = 50 * time.Millisecond }

// next returns the pause, and lets the next one be longer.
func (p *backoff) next() time.Duration {
	d := p.current/2 + rand.N(p.current)
	p.current = min(2*p.current, 5*time.Second)
	return d
}

// wait returns after the pause or when ctx ends.
func (p *backoff) wait(ctx context.Context) {
	timer := time.NewTimer(p.next())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// throttledLog logs troubles with the store, each kind at most once in
// complainEvery: a full disk must not fill the log as well.
type throttledLog struct {
	log *slog.Logger

	mu         sync.Mutex
	last       map[string]time.Time
	suppressed map[string]int
}

const throttleInterval = 10 * time.Second

func newThrottledLog(log *slog.Logger) *throttledLog {
	return &throttledLog{log: log, last: map[string]time.Time{}, suppressed: map[string]int{}}
}

// warn logs that the store did not do something.
func (c *throttledLog) warn(what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.last[what]) < throttleInterval {
		c.suppressed[what]++
		return
	}
	attrs := []any{"error", err}
	if n := c.suppressed[what]; n > 0 {
		attrs = append(attrs, "failures_not_logged", n)
	}
	c.log.Error("plainjobs: the store failed to "+what+"; trying again", attrs...)
	c.last[what], c.suppressed[what] = now, 0
}
