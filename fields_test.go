package plainjobs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// unmarked describes itself as a store that keeps no optional field. It embeds a store that
// keeps them and refuses none.
type unmarked struct{ *memory.Backend }

func (unmarked) Describe() backend.Description { return backend.Description{Store: "unmarked"} }

var (
	jobUnmarkedUnique = plainjobs.Declare[string]("fields/unique", plainjobs.UniqueBy(func(s string) string { return s }))
	jobUnmarkedPlain  = plainjobs.Declare[string]("fields/plain")
)

// Perform and PerformMany refuse a task with a field that the store does not keep, before the
// push. The error names the job, the store and the field.
func TestPerformRefusesFieldsTheStoreDoesNotKeep(t *testing.T) {
	m := memory.New(nil)
	q := plainjobs.New(unmarked{m}, nil)
	for field, task := range map[string]plainjobs.Task{
		"Unique":  jobUnmarkedUnique.With("k"),
		"Serial":  jobUnmarkedPlain.With("", plainjobs.Serial("s")),
		"Expires": jobUnmarkedPlain.With("", plainjobs.Before(time.Now().Add(time.Hour))),
	} {
		_, err := q.Perform(t.Context(), task)
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "unmarked does not keep "+field) {
			t.Errorf("Perform with %s = %v", field, err)
		}
		if _, err := q.PerformMany(t.Context(), jobUnmarkedPlain.With(""), task); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("PerformMany with %s = %v", field, err)
		}
	}
	if counts, err := m.Count(t.Context()); err != nil || len(counts) != 0 {
		t.Errorf("after refused tasks the store has %v, %v", counts, err)
	}
	if _, err := q.Perform(t.Context(), jobUnmarkedPlain.With("", plainjobs.In(time.Minute), plainjobs.Priority(3))); err != nil {
		t.Errorf("Perform without optional fields = %v", err)
	}
}

// NewJobs returns the jobs that PerformMany pushes. It stores nothing.
func TestNewJobs(t *testing.T) {
	m := memory.New(nil)
	q := plainjobs.New(m, &plainjobs.Options{
		MaxPayload: 10,
		Metadata:   func(context.Context) map[string]string { return map[string]string{"k": "v"} },
	})
	jobs, err := q.NewJobs(t.Context(), jobUnmarkedUnique.With("a"), jobUnmarkedPlain.With("b", plainjobs.In(time.Minute)))
	if err != nil || len(jobs) != 2 {
		t.Fatalf("NewJobs = %v, %v", jobs, err)
	}
	if counts, err := m.Count(t.Context()); err != nil || len(counts) != 0 {
		t.Errorf("after NewJobs the store has %v, %v", counts, err)
	}
	if jobs[0].Unique.Key != "a" || string(jobs[0].Payload) != `"a"` || jobs[1].Delay != time.Minute || string(jobs[1].Metadata) != `{"k":"v"}` {
		t.Errorf("the jobs are %+v", jobs)
	}
	pushed, err := m.Push(t.Context(), jobs)
	if err != nil || len(pushed) != 2 {
		t.Fatalf("Push = %v, %v", pushed, err)
	}
	if ids, err := q.PerformMany(t.Context(), jobUnmarkedUnique.With("a")); err != nil || ids[0] != pushed[0].ID {
		t.Errorf("PerformMany of a task that was pushed by NewJobs = %v, %v; want job %d", ids, err, pushed[0].ID)
	}
	if _, err := q.NewJobs(t.Context(), jobUnmarkedPlain.With(strings.Repeat("x", 20))); !errors.Is(err, plainjobs.ErrPayloadTooLarge) {
		t.Errorf("NewJobs with a large payload = %v", err)
	}
}
