package sqlite_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// manyNames returns so many names that a claim reads the spans of all, the first of
// which are given.
func manyNames(first ...string) []string {
	for i := range 10 {
		first = append(first, fmt.Sprint("other-", i))
	}
	return first
}

func openAt(t *testing.T, clock func() time.Time) *sqlite.Backend {
	t.Helper()
	b, err := modernc.Open(filepath.Join(t.TempDir(), "jobs.db"), &sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func claimIDs(t *testing.T, b *sqlite.Backend, req backend.ClaimRequest) (ids []int64) {
	t.Helper()
	req.Worker, req.Register = me, true
	jobs, err := b.Claim(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		ids = append(ids, jobs[i].ID)
	}
	return ids
}

// A claim that gives up behind jobs which have expired takes the jobs before them
// out of all their spans.
func TestClaimBeforeExpiredJobs(t *testing.T) {
	now := time.Now()
	b := openAt(t, func() time.Time { return now })
	for range 3 { // three spans with one RunAt
		if err := push(b, "a"); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Millisecond)
	for range 20 {
		if _, err := b.Push(t.Context(), []backend.NewJob{{Name: "a", MaxAttempts: 1, Expires: time.Second}}); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Minute)
	first := claimIDs(t, b, backend.ClaimRequest{Names: []string{"a"}, Limit: 4})
	if !slices.Equal(first, []int64{1, 2, 3}) {
		t.Errorf("the first claim returned jobs %v", first)
	}
	if again := claimIDs(t, b, backend.ClaimRequest{Names: []string{"a"}, Limit: 4}); len(again) > 0 {
		t.Errorf("another claim returned jobs %v", again)
	}
}

// A job stays claimable when one before it was deleted by a statement outside the
// queue and it alone is greater than MaxBytes.
func TestClaimPastDeletedJob(t *testing.T) {
	b := openAt(t, time.Now)
	for _, payload := range []string{"1", "2222222222"} {
		if _, err := b.Push(t.Context(), []backend.NewJob{{Name: "a", MaxAttempts: 1, Payload: []byte(payload)}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sqlOpen(t, b).Exec(`DELETE FROM plainjobs_job WHERE id = 1`); err != nil {
		t.Fatal(err)
	}
	if got := claimIDs(t, b, backend.ClaimRequest{Names: manyNames("a"), Limit: 4, MaxBytes: 5}); !slices.Equal(got, []int64{2}) {
		t.Errorf("the claim returned jobs %v, want job 2", got)
	}
}
