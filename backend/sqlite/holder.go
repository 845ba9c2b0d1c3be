package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A busySince knows since when the lock is not free.
type busySince struct{ first, last atomic.Int64 } // in nanoseconds, 0 if it is

const (
	// maxQueueWait is how long a process waits in the line, see line.
	maxQueueWait = 2 * time.Second
	// busyGap is how long nobody may have tried to get the lock before what was
	// known of it is out of date. Who stands in the line does not try.
	busyGap = maxQueueWait + time.Second
	// noticeable is a time that is worth to be told of.
	noticeable = 100 * time.Millisecond
)

// note takes note that the lock was not free.
func (b *busySince) note() {
	now := time.Now().UnixNano()
	if b.first.Load() == 0 || now-b.last.Load() > int64(busyGap) {
		b.first.Store(now)
	}
	b.last.Store(now)
}

// clear takes note that it is free.
func (b *busySince) clear() {
	if b.first.Load() != 0 {
		b.first.Store(0)
	}
}

// since returns for how long the lock is not free.
func (b *busySince) since() time.Duration {
	first := b.first.Load()
	if now := time.Now().UnixNano(); first != 0 && now-b.last.Load() <= int64(busyGap) {
		return time.Duration(now - first)
	}
	return 0
}

// A holder is a process that keeps others from writing.
type holder struct {
	pid     int
	command string // empty if it is not known
}

func (h holder) String() string {
	if h.pid == os.Getpid() {
		return "a transaction of this program"
	}
	text := fmt.Sprintf("process %d", h.pid)
	if h.command != "" {
		text += fmt.Sprintf(" (%s)", h.command)
	}
	if host, err := os.Hostname(); err == nil {
		text += " on " + host
	}
	return text
}

// holderOf returns who holds the lock of the database at path, if the system
// tells.
func holderOf(path string) (holder, bool) {
	if path == "" {
		return holder{}, false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return lockHolder(path)
}

// withTx is for transactions of this program.
const withTx = "a transaction that waits for this call never ends: enqueue in it with Queue.WithTx"

// locked says who holds the lock, which was not free for so long.
func locked(path string, wait time.Duration) string {
	wait = wait.Round(100 * time.Millisecond)
	h, ok := holderOf(path)
	switch {
	case !ok:
		return fmt.Sprintf("the write lock of the database was not free for %v, and the system does not tell who has it; "+
			"if it is a transaction of this program: %s", wait, withTx)
	case h.pid == os.Getpid():
		return fmt.Sprintf("the write lock of the database was not free for %v: %v holds it; %s", wait, h, withTx)
	}
	return fmt.Sprintf("the write lock of the database was not free for %v: %v holds it; end its transaction, or the process", wait, h)
}

// errLocked is for who waited for the lock in vain.
func errLocked(path string, wait time.Duration, err error) error {
	text := fmt.Errorf("%w: %s", backend.ErrUnavailable, locked(path, wait))
	if err != nil {
		return fmt.Errorf("%w: %w", text, err)
	}
	return text
}
