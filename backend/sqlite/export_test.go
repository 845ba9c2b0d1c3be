package sqlite

import (
	"testing"
	"time"
)

// SetLockWait replaces lockWait for a test.
func SetLockWait(t *testing.T, d time.Duration) {
	old := lockWait
	lockWait = d
	t.Cleanup(func() { lockWait = old })
}

// Path returns the file of a store.
func (b *Backend) Path() string { return b.path }

// OlderThan is olderThan.
var OlderThan = olderThan

// Queued returns how many requests wait for the writer.
func (b *Backend) Queued() int {
	b.writer.mu.Lock()
	defer b.writer.mu.Unlock()
	return len(b.writer.queue)
}
