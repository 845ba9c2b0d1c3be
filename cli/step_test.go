package cli

import (
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// fillSteps stores a job that waits for a signal after a step, and one that failed after two.
func (w *world) fillSteps(t *testing.T) {
	t.Helper()
	ctx, q := t.Context(), plainjobs.New(w.store, nil)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := q.PerformMany(ctx, invoiceJob.With(letter{To: "a"}), invoiceJob.With(letter{To: "b"}))
	check(err)
	jobs, err := w.store.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: time.Hour}, Register: true, Names: []string{"invoice"}, Limit: 2})
	check(err)
	for _, j := range jobs {
		check(w.store.StoreStep(ctx, nil, j.Lease, backend.Step{Name: "charge", Result: []byte(`{"ID":"c1"}`)}))
	}
	check(w.store.StoreStep(ctx, nil, jobs[1].Lease, backend.Step{Name: "mail \x1b[31m", Result: []byte(`true`)}))
	w.pass(time.Minute)
	_, err = w.store.Fail(ctx, []backend.Failure{
		{Lease: jobs[0].Lease, Ending: backend.EndSleep, Delay: time.Hour, Signal: backend.SignalKey{Name: "approval", Key: "order 7"}},
		{Lease: jobs[1].Lease, Ending: backend.EndFailed, Error: "no"},
	})
	check(err)
}

func TestStepGolden(t *testing.T) {
	w := newWorld(t)
	w.fillSteps(t)
	w.golden(t, "steps", "show 1", "why 1", "show 2", "retry 2 --from-step other --yes", "retry --all --from-step charge --yes",
		"retry 2 --from-step charge --yes", "show 2", `signal approval`, "signal approval order-7 {", "signal approval order-7", "signal approval order-7 1", "why 1")
}
