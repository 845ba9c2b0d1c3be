// Package audit runs the checks and repairs of derived state for the SQL stores.
package audit

import (
	"log/slog"
	"sync"
	"time"
)

// An Auditor decides when Reap checks for derived state that keeps jobs from being
// pushed or claimed. Checks take at most a hundredth of the time. The zero value is
// ready.
type Auditor struct {
	mu   sync.Mutex
	next time.Time
}

// Run calls check, if a check is due and no other call is checking. Check returns
// what differs, or an empty string. If something does, Run calls repair and logs
// what was corrected.
func (a *Auditor) Run(log *slog.Logger, check func() (drift string, err error), repair func() error) error {
	if !a.mu.TryLock() {
		return nil
	}
	defer a.mu.Unlock()
	begin := time.Now()
	if begin.Before(a.next) {
		return nil
	}
	drift, err := check()
	a.next = time.Now().Add(100 * time.Since(begin))
	if err != nil || drift == "" {
		return err
	}
	if err := repair(); err != nil {
		return err
	}
	log.Warn("plainjobs: derived state did not match the jobs, because a statement outside the queue changed them; corrected",
		"corrected", drift)
	return nil
}

// maxRepairs bounds how often Correct repairs. A search finds a bounded number of
// differences.
const maxRepairs = 1000

// Correct calls find, which returns what differs, or an empty string, and whether the
// search stopped at its bound. Unless repair is nil, it then repairs and searches until
// nothing differs, or repairing changes nothing: jobs that run with one serial key, for
// example, correct it when they end. It returns what differed first, and what is left.
func Correct(find func() (drift string, more bool, err error), repair func() error) (first, left string, err error) {
	first, _, err = find()
	left = first
	for n := 0; err == nil && repair != nil && left != "" && n < maxRepairs; n++ {
		before, more := left, false
		if err = repair(); err == nil {
			left, more, err = find()
		}
		if left == before && !more {
			break
		}
	}
	return first, left, err
}
