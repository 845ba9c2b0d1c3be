package conformance

import (
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// fieldJobs returns a job for each optional field of backend.NewJob.
func (e *env) fieldJobs() []backend.NewJob {
	return []backend.NewJob{
		expiring(e.unit, newJob("expires")),
		until(e.now().Add(time.Hour), newJob("expires-at")),
		uniqueJob("unique", backend.Unique{Key: "k"}),
		serialJob("serial", "s"),
		fairJob("fair", "f"),
		bounded(10, newJob("max-pending")),
		e.gatedJob(),
	}
}

// gatedJob returns a job that counts in a gate, which exists if the store has gates.
func (e *env) gatedJob() backend.NewJob {
	gate := int64(1)
	if _, ok := e.b.(backend.GateStore); ok && backend.Describe(e.b).Fields&backend.FieldGates != 0 {
		gate, _ = e.createGate(backend.NewGate{})
	}
	return in(newJob("gates"), gate)
}

var fieldCases = []testCase{{
	name: "fields/push",
	rule: "a push with a field that the store does not keep fails with an error that matches errors.ErrUnsupported and writes nothing; one with a field that it keeps succeeds",
	run: func(e *env) {
		keeps := backend.Describe(e.b).Fields
		for _, job := range e.fieldJobs() {
			pushed, err := e.b.Push(e.ctx, []backend.NewJob{newJob("plain " + job.Name), job})
			switch {
			case check.JobFields(&job)&^keeps == 0 && (err != nil || len(pushed) != 2):
				e.Errorf("Push with %v, which the store keeps = %v, %v", check.JobFields(&job), pushed, err)
			case check.JobFields(&job)&^keeps != 0 && !errors.Is(err, errors.ErrUnsupported):
				e.Errorf("Push with %v, which the store does not keep = %v, want errors.ErrUnsupported", check.JobFields(&job), err)
			}
			if err == nil {
				continue
			}
			if got := e.claim(e.b, e.worker(), 10, "plain "+job.Name, job.Name); len(got) != 0 && check.JobFields(&job)&^keeps != 0 {
				e.Errorf("the refused push with %v has stored %d jobs", check.JobFields(&job), len(got))
			}
		}
	},
}, {
	name: "fields/set",
	rule: "Set or Override of a field that the store does not keep fails with an error that matches errors.ErrUnsupported and writes nothing; of one that it keeps it succeeds",
	run: func(e *env) {
		store := capability[backend.SettingsStore](e, e.b)
		keeps := backend.Describe(e.b).Fields
		for _, s := range []backend.Settings{
			{Name: "max-running", MaxRunning: 1},
			{Name: "rate", Rate: 1, Per: time.Second},
			{Name: "history", History: backend.History{Done: time.Hour}},
			{Name: "drop", History: backend.History{DropDone: true}},
			{Name: "drop-failed", History: backend.History{DropFailed: true}},
			{Name: "max-crashes", MaxCrashes: 1},
		} {
			_, err := store.Set(e.ctx, 0, []backend.Settings{{Name: "zero"}, s})
			switch {
			case check.SettingsFields(&s)&^keeps == 0 && err != nil:
				e.Errorf("Set of %v, which the store keeps = %v", check.SettingsFields(&s), err)
			case check.SettingsFields(&s)&^keeps != 0 && !errors.Is(err, errors.ErrUnsupported):
				e.Errorf("Set of %v, which the store does not keep = %v, want errors.ErrUnsupported", check.SettingsFields(&s), err)
			}
			err = store.Override(e.ctx, backend.Override{Settings: s}, false)
			switch {
			case check.SettingsFields(&s)&^keeps == 0 && err != nil:
				e.Errorf("Override of %v, which the store keeps = %v", check.SettingsFields(&s), err)
			case check.SettingsFields(&s)&^keeps != 0 && !errors.Is(err, errors.ErrUnsupported):
				e.Errorf("Override of %v, which the store does not keep = %v, want errors.ErrUnsupported", check.SettingsFields(&s), err)
			}
		}
	},
}}
