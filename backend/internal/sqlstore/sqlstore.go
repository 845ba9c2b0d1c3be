// Package sqlstore has what the stores on SQL servers share: decisions and loops that do not
// depend on the SQL.
package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Sorted returns the keys of m in order.
func Sorted[M ~map[K]V, K cmp.Ordered, V any](m M) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Pause waits, unless the context ends.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
