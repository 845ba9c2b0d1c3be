package worker

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff is a pause that doubles from 50 ms to 5 s, with jitter.
type backoff struct{ current time.Duration }

func newBackoff() *backoff { return &backoff{current: 50 * time.Millisecond} }

func (p *backoff) reset() { p.current = 50 * time.Millisecond }

// next returns the pause and doubles it.
func (p *backoff) next() time.Duration {
	d := p.current/2 + rand.N(p.current)
	p.current = min(2*p.current, 5*time.Second)
	return d
}

// wait waits for the pause, or until ctx ends.
func (p *backoff) wait(ctx context.Context) {
	timer := time.NewTimer(p.next())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
