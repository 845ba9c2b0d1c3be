// Package skew moves the clocks of stores under test.
package skew

import (
	"sync"
	"sync/atomic"
	"time"
)

var (
	any   atomic.Bool
	moved sync.Map // by the prefix of the store's tables
)

// Set sets by how much the clock of the stores with a prefix is ahead of the server's.
func Set(prefix string, ahead time.Duration) {
	moved.Store(prefix, ahead)
	any.Store(true)
}

// Of returns by how much the clock of the stores with a prefix is ahead: zero outside tests.
func Of(prefix string) time.Duration {
	if !any.Load() {
		return 0
	}
	ahead, _ := moved.Load(prefix)
	d, _ := ahead.(time.Duration)
	return d
}
