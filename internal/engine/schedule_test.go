package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Two programs mean the same by a schedule if they push the same at the same
// times. What each of them is made of makes it another one.
func TestScheduleDefinition(t *testing.T) {
	task := func() backend.NewJob {
		return backend.NewJob{Name: "job", Payload: []byte(`{"n":1}`), MaxAttempts: 3}
	}
	define := func(change func(*engine.Schedule, *backend.NewJob)) string {
		s := &engine.Schedule{Name: "s", Spec: "0 * * * *", CatchUp: 1, Job: &engine.Definition{Name: "job"}}
		job := task()
		if change != nil {
			change(s, &job)
		}
		if s.Task == nil {
			s.Task = func(time.Time) (backend.NewJob, error) { return job, nil }
		}
		return s.Definition()
	}
	same := define(nil)
	if again := define(nil); again != same {
		t.Errorf("the definition is %q and then %q", same, again)
	}
	seen := map[string]string{same: "nothing"}
	for what, change := range map[string]func(*engine.Schedule, *backend.NewJob){
		"expression":   func(s *engine.Schedule, _ *backend.NewJob) { s.Spec = "1 * * * *" },
		"zone":         func(s *engine.Schedule, _ *backend.NewJob) { s.Zone = "Europe/Berlin" },
		"catch up":     func(s *engine.Schedule, _ *backend.NewJob) { s.CatchUp = 2 },
		"job":          func(s *engine.Schedule, _ *backend.NewJob) { s.Job = &engine.Definition{Name: "other"} },
		"payload":      func(_ *engine.Schedule, j *backend.NewJob) { j.Payload = []byte(`{"n":2}`) },
		"priority":     func(_ *engine.Schedule, j *backend.NewJob) { j.Priority = 1 },
		"max attempts": func(_ *engine.Schedule, j *backend.NewJob) { j.MaxAttempts = 4 },
		"delay":        func(_ *engine.Schedule, j *backend.NewJob) { j.Delay = time.Minute },
		"unique key":   func(_ *engine.Schedule, j *backend.NewJob) { j.Unique.Key = "k" },
		"conflict":     func(_ *engine.Schedule, j *backend.NewJob) { j.Unique.Conflict = backend.Reject },
		"serial key":   func(_ *engine.Schedule, j *backend.NewJob) { j.Serial = "k" },
		"max pending":  func(_ *engine.Schedule, j *backend.NewJob) { j.MaxPending = 5 },
		"a key that panics": func(s *engine.Schedule, _ *backend.NewJob) {
			s.Task = func(time.Time) (backend.NewJob, error) { panic("no key") }
		},
	} {
		d := define(change)
		if other, ok := seen[d]; ok {
			t.Errorf("after a change of %s the definition is as after one of %s: %q", what, other, d)
		}
		seen[d] = what
		if again := define(change); again != d {
			t.Errorf("%s: the definition is %q and then %q", what, d, again)
		}
	}
}

// Making a task calls the user's key functions.
func TestScheduleMake(t *testing.T) {
	s := &engine.Schedule{Task: func(tick time.Time) (backend.NewJob, error) {
		if tick.IsZero() {
			panic("no key")
		}
		return backend.NewJob{Name: "job"}, nil
	}}
	if _, err := s.Make(time.Time{}); err == nil || !strings.Contains(err.Error(), "making its task panicked: no key") {
		t.Errorf("Make = %v", err)
	}
	if job, err := s.Make(time.Now()); err != nil || job.Name != "job" {
		t.Errorf("Make = %+v, %v", job, err)
	}
}
