package cli

import (
	"regexp"
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// After a retry by an operator, attempts count from 1 again. Show says so between the
// errors, which it lists by time.
func TestShowRetried(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	w.must(t, 0, "retry", "2")
	jobs, err := w.store.Claim(t.Context(), backend.ClaimRequest{
		Worker: backend.Worker{ID: 78, Lease: leaseOfFill}, Register: true, Names: []string{"invoice"}, Limit: 10,
	})
	at := slices.IndexFunc(jobs, func(j backend.Job) bool { return j.ID == 2 })
	if err != nil || at < 0 {
		t.Fatalf("Claim = %+v, %v", jobs, err)
	}
	if _, err := w.store.Fail(t.Context(), []backend.Failure{{Lease: jobs[at].Lease, Ending: backend.EndRetry, Error: "refused again"}}); err != nil {
		t.Fatal(err)
	}
	got := w.must(t, 0, "show", "2").out
	want := `\nattempt 1 +\S.*connection refused\nattempt 2 +\S.*\n +retried by an operator: attempts count from 1 again\nattempt 1 +\S.*refused again\n`
	if !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("show printed\n%s\nwant\n%s", got, want)
	}
}

// The commands say that a payload was dropped, and why the job is not retried.
func TestDropped(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	if _, err := w.store.Set(t.Context(), 0, []backend.Settings{{Name: "welcome", History: backend.History{DropFailed: true}}}); err != nil {
		t.Fatal(err)
	}
	w.golden(t, "dropped", "cancel 6", "show 6", "show 6 --json", "retry 6", "retry 6 3", "retry --all --state cancelled --yes", "export --id 6", "jobs --state cancelled")
}
