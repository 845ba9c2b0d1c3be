package worker

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// A pause grows from 50 ms to 5 s, with jitter.
type pause struct{ next time.Duration }

func newPause() *pause { return &pause{next: 50 * time.Millisecond} }

func (p *pause) reset() { p.next = 50 * time.Millisecond }

// grow returns the pause, and lets the next one be longer.
func (p *pause) grow() time.Duration {
	d := p.next/2 + rand.N(p.next)
	p.next = min(2*p.next, 5*time.Second)
	return d
}

// sleep returns after the pause or when ctx ends.
func (p *pause) sleep(ctx context.Context) {
	timer := time.NewTimer(p.grow())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// complaints logs troubles with the store, each kind at most once in
// complainEvery: a full disk must not fill the log as well.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time
	kept map[string]int
}

const complainEvery = 10 * time.Second

func newComplaints(log *slog.Logger) *complaints {
	return &complaints{log: log, last: map[string]time.Time{}, kept: map[string]int{}}
}

// complain logs that the store did not do something.
func (c *complaints) complain(what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.last[what]) < complainEvery {
		c.kept[what]++
		return
	}
	attrs := []any{"error", err}
	if n := c.kept[what]; n > 0 {
		attrs = append(attrs, "failures_not_logged", n)
	}
	c.log.Error("plainjobs: the store failed to "+what+"; trying again", attrs...)
	c.last[what], c.kept[what] = now, 0
}
