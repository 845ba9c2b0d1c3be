package postgrestest

import (
	"fmt"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// An audit is what became of jobs that were pushed with keys.
type audit struct {
	stored  int      // of all keys
	lost    int      // acknowledged, and not there, or there as another job
	doubled int      // jobs with a key that another one has, too
	open    []string // acknowledged, and not done
}

// newAudit compares the jobs that were acknowledged, by key, with those that
// are stored. What is lost or doubled is an error; that one is open is not.
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
				tb.Errorf("jobs %d and %d have the key %s", other.ID, j.ID, j.UniqueKey)
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
			tb.Errorf("job %d was acknowledged for %s, stored is %d", id, key, j.ID)
			a.lost++
		} else if j.State != backend.Done {
			a.open = append(a.open, fmt.Sprintf("job %d of %s is %v after %d crashes", id, key, j.State, j.Crashes))
		}
	}
	a.stored = len(stored)
	return a
}
