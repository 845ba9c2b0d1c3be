package dashboard

import (
	"net/http"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var stepped = plainjobs.Declare[string]("steps/order")

// The page of a job shows its steps without their results, which Redact does not know, and
// the signal that the job waits for.
func TestStepsOfAJob(t *testing.T) {
	ctx := t.Context()
	store := memory.New(nil)
	t.Cleanup(func() { store.Close() })
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := plainjobs.New(store, nil).Perform(ctx, stepped.With("a"))
	check(err)
	jobs, err := store.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: time.Hour}, Register: true, Names: []string{"steps/order"}, Limit: 1})
	check(err)
	check(store.StoreStep(ctx, nil, jobs[0].Lease, backend.Step{Name: "charge <b>", Result: []byte(`"secret"`)}))
	w := newWorld(t, store, nil)
	running := w.get(t, http.StatusOK, "/job?id=1")
	contains(t, running, "Steps", "charge &lt;b&gt;")
	lacks(t, running, "secret", "--from-step")
	_, err = store.Fail(ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndSleep, Delay: time.Hour, Signal: backend.SignalKey{Name: "approval", Key: "order 7"}}})
	check(err)
	asleep := w.get(t, http.StatusOK, "/job?id=1")
	contains(t, asleep, "app retry 1 --from-step", "It waits for the signal approval")
	lacks(t, asleep, "secret")
}
