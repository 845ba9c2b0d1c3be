package conformance

import (
	"sync/atomic"
	"time"
)

// A Clock is a clock for stores under test. It runs like the real one and can
// be moved.
type Clock struct{ offset atomic.Int64 }

// NewClock returns a clock that shows the system's time until it is moved.
func NewClock() *Clock { return &Clock{} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// Advance moves the clock by d, which may be negative.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }
