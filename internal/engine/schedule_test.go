package engine_test

import (
	"reflect"
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
		s := &engine.Schedule{Name: "s", Timing: engine.Timing{Spec: "0 * * * *"}, CatchUp: 1, Job: &engine.Definition{Name: "job"}}
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

// Each field of a job is part of the definition, and an upgrade of the library
// changes no definition.
func TestScheduleDefinitionIsStable(t *testing.T) {
	define := func(job backend.NewJob) string {
		s := &engine.Schedule{Name: "s", Timing: engine.Timing{Spec: "0 * * * *", Zone: "Europe/Berlin"}, CatchUp: 1, Job: &engine.Definition{Name: "job"}}
		s.Task = func(time.Time) (backend.NewJob, error) { return job, nil }
		return s.Definition()
	}
	plain := backend.NewJob{Name: "job", Payload: []byte(`{"n":1}`), MaxAttempts: 3}
	for _, c := range []struct {
		want string
		job  backend.NewJob
	}{
		{"job|0 * * * *|Europe/Berlin|1|e6151700f6466792", plain},
		{"job|0 * * * *|Europe/Berlin|1|861a36c0b09d5428", backend.NewJob{
			Name: "job", Payload: []byte(`{"n":1}`), MaxAttempts: 3, Priority: 1, Delay: time.Minute, Expires: time.Hour, Serial: "s", MaxPending: 5,
			Unique: backend.Unique{Key: "k", Scope: backend.UntilStarted, For: time.Hour, Conflict: backend.Reject}, Metadata: []byte("m"),
		}},
	} {
		if got := define(c.job); got != c.want {
			t.Errorf("the definition is %q, as programs have stored it %q", got, c.want)
		}
	}
	seen := map[string]string{define(plain): "nothing"}
	var change func(path string, v reflect.Value, whole *backend.NewJob)
	change = func(path string, v reflect.Value, whole *backend.NewJob) {
		for i := range v.NumField() {
			name, f := path+v.Type().Field(i).Name, v.Field(i)
			old := reflect.ValueOf(f.Interface())
			switch f.Interface().(type) {
			case *backend.Gating: // a schedule outlives the gates of its ticks
				continue
			case time.Time:
				f.Set(reflect.ValueOf(time.Unix(1, 0)))
			case string:
				f.SetString("other")
			case []byte:
				f.SetBytes([]byte("other"))
			default:
				switch {
				case f.Kind() == reflect.Struct:
					change(name+".", f, whole)
					continue
				case f.CanUint():
					f.SetUint(1)
				default:
					f.SetInt(7)
				}
			}
			d := define(*whole)
			if other, ok := seen[d]; ok {
				t.Errorf("a change of %s is as one of %s: add the field to what a definition tells apart", name, other)
			}
			seen[d] = name
			f.Set(old)
		}
	}
	job := plain
	change("", reflect.ValueOf(&job).Elem(), &job)
}

// The definition of a secret schedule says nothing about its payload.
func TestScheduleDefinitionIsSecret(t *testing.T) {
	define := func(payload string, secret bool) string {
		s := &engine.Schedule{Name: "s", Timing: engine.Timing{Spec: "0 * * * *"}, Job: &engine.Definition{Name: "job"}, Secret: secret}
		s.Task = func(time.Time) (backend.NewJob, error) {
			return backend.NewJob{Name: "job", Payload: []byte(payload)}, nil
		}
		return s.Definition()
	}
	if define("1", true) != define("2", true) {
		t.Error("the definition of a secret schedule depends on its payload")
	}
	if define("1", false) == define("2", false) {
		t.Error("the definition does not depend on the payload")
	}
}
