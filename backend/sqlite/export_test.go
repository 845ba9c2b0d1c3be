package sqlite

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// IsAudit reports whether a statement is one by which Reap compares derived state
// with the jobs. They read all waiting jobs, and take a hundredth of the time.
func IsAudit(b *Backend, query string) bool {
	oneLine := func(query string) string { return strings.Join(strings.Fields(query), " ") }
	return slices.ContainsFunc([]string{
		fmt.Sprintf(selectCountDrift, liveCounted, backend.Running), selectLostHeads, selectHeadless, selectLostKeys, selectWrongSpans, selectSpanAt,
		selectWrongGates, selectOwnWrongGates, selectStranded, selectRowless,
	}, func(audit string) bool { return oneLine(b.sql(audit)) == oneLine(query) })
}

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

// SetAuditedSpans replaces auditedSpans for a test.
func SetAuditedSpans(t *testing.T, n int64) {
	old := auditedSpans
	auditedSpans = n
	t.Cleanup(func() { auditedSpans = old })
}

// Queued returns how many requests wait for the writer.
func (b *Backend) Queued() int {
	b.writer.mu.Lock()
	defer b.writer.mu.Unlock()
	return len(b.writer.queue)
}

// SetFewNames replaces fewNames for a test.
func SetFewNames(t *testing.T, n int) {
	old := fewNames
	fewNames = n
	t.Cleanup(func() { fewNames = old })
}
