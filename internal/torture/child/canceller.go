package child

import (
	"context"
	"sync"

	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A canceller is the hook that cancels a context at the k-th call.
type canceller struct {
	mu     sync.Mutex
	cancel context.CancelFunc
	late   bool // the call has been made
	k      int
	calls  int
	rows   int // open results
}

// arm returns a context that ends at the k-th call from now on.
func (c *canceller) arm(k int, late bool) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel, c.k, c.late, c.calls = cancel, k, late, 0
	return ctx
}

// disarm returns how many calls there were.
func (c *canceller) disarm() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
	c.cancel = nil
	return c.calls
}

func (c *canceller) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows
}

func (c *canceller) before(string, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		if c.calls++; c.calls == c.k && !c.late {
			c.cancel()
		}
	}
	return nil
}

func (c *canceller) after(call, _ string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch call {
	case faultdriver.Query:
		c.rows++
	case faultdriver.Close:
		c.rows--
	}
	if c.cancel != nil && c.calls == c.k && c.late {
		c.cancel()
	}
	return nil
}
