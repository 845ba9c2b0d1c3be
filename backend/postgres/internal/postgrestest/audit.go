package postgrestest

import (
	"fmt"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// An audit compares acknowledged keyed jobs with the stored ones.
type audit struct {
	stored  int      // number of keys
	lost    int      // acknowledged, but missing or stored as another job
	doubled int      // jobs whose key another job has, too
	open    []string // acknowledged and not done
}

// newAudit compares the acknowledged jobs, by key, with the stored ones. Lost and
// doubled jobs fail the test; jobs that are not done do not.
func newAudit(tb testing.TB, b *postgres.Backend, acked map[string]int64) (a audit) {
	tb.Helper()
	stored := map[string]backend.Info{}
	for before := int64(0); ; {
		page, err := b.List(tb.Context(), backend.ListRequest{Before: before, Limit: 1000})
		if err != nil {
			tb.Fatal(err)
		}
		for _, j := range page.Jobs {
			if j.UniqueKey == "" {
				continue
			}
			if other, ok := stored[j.UniqueKey]; ok {
				tb.Errorf("jobs %d and %d have the same key %s", other.ID, j.ID, j.UniqueKey)
				a.doubled++
			}
			stored[j.UniqueKey] = j
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	for key, id := range acked {
		j := stored[key]
		if j.ID != id {
			tb.Errorf("job %d was acknowledged for %s, but job %d is stored", id, key, j.ID)
			a.lost++
		} else if j.State != backend.Done {
			a.open = append(a.open, fmt.Sprintf("job %d of %s is %v after %d crashes", id, key, j.State, j.Crashes))
		}
	}
	a.stored = len(stored)
	return a
}
