package dashboard

import (
	"fmt"
	"net/http"
	"strings"
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
	contains(t, running, "Step charge &lt;b&gt; stored")
	_, err = store.Fail(ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndSleep, Delay: time.Hour, Signal: backend.SignalKey{Name: "approval", Key: "order 7"}}})
	check(err)
	asleep := w.get(t, http.StatusOK, "/job?id=1")
	contains(t, asleep, "app retry 1 --from-step", "It waits for the signal approval")
	lacks(t, asleep, "secret")
}

// A timeline has the last steps between the attempts in which they were stored.
func TestStepsInTimeline(t *testing.T) {
	rq := (&handler{}).request(nil)
	at := func(minute int) moment { return rq.moment(time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)) }
	timeline := []entry{{When: at(0), Title: "Pushed"}, {When: at(10), Title: "Attempt 1 failed"}, {Title: "Retried"}, {When: at(20), Title: "Attempt 2 started"}}
	var steps []stepView
	for minute := range stepsInTimeline + 5 {
		steps = append(steps, stepView{Name: fmt.Sprint(minute), When: at(minute)})
	}
	var got []string
	for _, e := range withSteps(timeline, steps) {
		got = append(got, e.Title)
	}
	want := "Pushed, Step 5 stored, Step 6 stored, Step 7 stored, Step 8 stored, Step 9 stored, Attempt 1 failed, Retried, Step 10 stored"
	if text := strings.Join(got, ", "); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "Step 19 stored, Attempt 2 started, Step 20 stored, Step 21 stored, Step 22 stored, Step 23 stored, Step 24 stored") {
		t.Errorf("the timeline is %s", text)
	}
}
