//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sqlite

import (
	"context"
	"time"
)

// A lockQueue is where processes queue for the write lock on other systems. Here
// they try again, at growing intervals.
type lockQueue struct{}

func newLockQueue(string) *lockQueue { return &lockQueue{} }

func (*lockQueue) noteContention() {}

func (*lockQueue) wait(context.Context, time.Time) bool { return false }

func (*lockQueue) release() {}

func (*lockQueue) closeFile() {}

func (*lockQueue) close() {}
