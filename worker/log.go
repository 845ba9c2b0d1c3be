package worker

import (
	"log/slog"
	"sync"
	"time"
)

// A throttledLog logs the store's failures, each kind at most once in throttleInterval: a
// full disk must not fill the log as well.
type throttledLog struct {
	log *slog.Logger

	mu         sync.Mutex
	last       map[string]time.Time
	suppressed map[string]int
}

const throttleInterval = 10 * time.Second

func newThrottledLog(log *slog.Logger) *throttledLog {
	return &throttledLog{log: log, last: map[string]time.Time{}, suppressed: map[string]int{}}
}

// allow reports whether something may be logged now, which it may once in throttleInterval.
func (l *throttledLog) allow(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.last[what]) < throttleInterval {
		return false
	}
	l.last[what] = now
	return true
}

// warn logs that the store failed to do something and that the worker tries again.
func (l *throttledLog) warn(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.last[what]) < throttleInterval {
		l.suppressed[what]++
		return
	}
	attrs := []any{"error", err}
	if n := l.suppressed[what]; n > 0 {
		attrs = append(attrs, "failures_not_logged", n)
	}
	l.log.Error("plainjobs: the store failed to "+what+"; trying again", attrs...)
	l.last[what], l.suppressed[what] = now, 0
}
