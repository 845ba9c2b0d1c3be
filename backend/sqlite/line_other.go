//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sqlite

import (
	"context"
	"time"
)

// A line is where processes queue for the write lock on other systems. Here
// they try again, at growing intervals.
type line struct{}

func newLine(string) *line { return &line{} }

func (*line) crowd() {}

func (*line) head(context.Context, time.Time) bool { return false }

func (*line) leave() {}

func (*line) shut() {}

func (*line) close() {}
