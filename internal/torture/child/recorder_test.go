package child

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// TestLost checks that a lease counts as lost only once the store no longer has
// it: a lease that a worker gave up because the store was silent is still
// valid.
func TestLost(t *testing.T) {
	store, err := modernc.Open(filepath.Join(t.TempDir(), "jobs.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := newRecorder(store, &journal{})
	ctx := t.Context()
	_, err = r.Push(ctx, []backend.NewJob{{Name: "a", Payload: []byte("1"), MaxAttempts: 3}})
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := r.Claim(ctx, backend.ClaimRequest{
		Worker: backend.Worker{ID: 7, Lease: time.Minute}, Register: true, Names: []string{"a"}, Limit: 1,
	})
	if err != nil || len(jobs) != 1 {
		t.Fatalf("Claim = %v, %v", jobs, err)
	}
	lease := jobs[0].Lease
	if c := r.claim(lease.ID); c.Lease != lease || c.worker != 7 {
		t.Errorf("the recorder has lease %v of worker %d, want %v of 7", c.Lease, c.worker, lease)
	}
	is := func(when string, worker int64, want bool) {
		t.Helper()
		if lost, err := r.lost(lease.ID, worker); err != nil || lost != want {
			t.Errorf("%s: lost = %v, %v, want %v", when, lost, err, want)
		}
	}
	is("held", 7, false)
	is("held by another", 8, true)
	if lost, err := r.Fail(ctx, []backend.Failure{{Lease: lease, Ending: backend.EndRelease}}); err != nil || len(lost) > 0 {
		t.Fatalf("Fail = %v, %v", lost, err)
	}
	is("released", 7, true)
	if lost, err := store.Complete(ctx, []backend.Completion{{Lease: lease}}); err != nil || len(lost) != 1 {
		t.Errorf("Complete with the released lease = %v, %v, want it lost", lost, err)
	}
}
