//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package host

import (
	"context"
	"time"
)

// A LockQueue does nothing on this system: processes poll for the write lock.
type LockQueue struct{}

// NewLockQueue returns a queue.
func NewLockQueue(string) *LockQueue { return &LockQueue{} }

// NoteContention does nothing.
func (*LockQueue) NoteContention() {}

// Wait returns false.
func (*LockQueue) Wait(context.Context, time.Time) bool { return false }

// Release does nothing.
func (*LockQueue) Release() {}

// Stop does nothing.
func (*LockQueue) Stop() {}

// Close does nothing.
func (*LockQueue) Close() {}
