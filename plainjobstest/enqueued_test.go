package plainjobstest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var sized = plainjobs.DeclareResult[contact, int]("test/sized", plainjobs.MaxAttempts(6))

// failures is a test that notes why it fails.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Helper()                   {}
func (f *failures) Errorf(s string, a ...any) { f.texts = append(f.texts, fmt.Sprintf(s, a...)) }
func (f *failures) Fatalf(s string, a ...any) { f.Errorf(s, a...); panic("fatal") }
func (f *failures) catch(call func()) (s string) {
	defer func() {
		if v := recover(); v != nil && v != "fatal" {
			panic(v)
		}
		s = strings.Join(f.texts, "\n")
		f.texts = nil
	}()
	call()
	return ""
}

// A job with a result is looked for like any other, by data or by a predicate.
func TestEnqueued(t *testing.T) {
	ctx, q := plainjobstest.Memory(t)
	if got := plainjobstest.Enqueued(t, q, sized); len(got) != 0 {
		t.Errorf("an empty queue has %v", got)
	}
	var want []contact
	for i := range 1500 { // more than a page
		want = append(want, contact{fmt.Sprintf("%d@example.com", i)})
		if _, err := plainjobs.Perform(ctx, sized.With(want[i])); err != nil {
			t.Fatal(err)
		}
	}
	if got := plainjobstest.Enqueued(t, q, sized); !slices.Equal(got, want) {
		t.Errorf("%d jobs are enqueued, from %v to %v", len(got), got[0], got[len(got)-1])
	}
	if info := plainjobstest.RequireEnqueued(t, q, sized, want[7]); info.ID != 8 {
		t.Errorf("found job #%d", info.ID)
	}
	plainjobstest.RefuteEnqueued(t, q, sized, contact{"x"})
	if info := plainjobstest.RequireEnqueuedFunc(t, q, sized, func(c contact) bool { return strings.HasPrefix(c.Email, "9") }); info.ID != 1000 {
		t.Errorf("found job #%d, which is not the newest that matches", info.ID)
	}
	f := &failures{TB: t}
	for text, call := range map[string]func(){
		`no job test/sized was performed with {"Email":"x"}; there are #1500 with {"Email":"1499@example.com"}, #1499`: func() {
			plainjobstest.RequireEnqueued(f, q, sized, contact{"x"})
		},
		"no job test/sized was performed that matches; there are #1500": func() {
			plainjobstest.RequireEnqueuedFunc(f, q, sized, func(contact) bool { return false })
		},
		`job test/sized #1 was performed with {"Email":"0@example.com"}`: func() { plainjobstest.RefuteEnqueued(f, q, sized, want[0]) },
	} {
		if got := f.catch(call); !strings.Contains(got, text) {
			t.Errorf("the test fails with %q, want %q", got, text)
		}
	}
}

// A task has its job's name and its data.
func TestTask(t *testing.T) {
	task := sized.With(contact{"a"})
	if task.Name() != "test/sized" || string(task.Data()) != `{"Email":"a"}` {
		t.Errorf("the task is %s with %s", task.Name(), task.Data())
	}
	if zero := (plainjobs.Task{}); zero.Name() != "" || zero.Data() != nil {
		t.Errorf("a zero task is %q with %s", zero.Name(), zero.Data())
	}
}

// The context of a handler has the fields of the test's Info, and performs on the queue of
// the test.
func TestContext(t *testing.T) {
	info, ok := plainjobs.FromContext(plainjobstest.Context(t, plainjobs.Info{}))
	if !ok || info.ID != 1 || info.Attempt != 1 || info.MaxAttempts != plainjobs.DefaultMaxAttempts || info.CreatedAt.IsZero() || info.RunAt.IsZero() {
		t.Errorf("the run is %+v", info)
	}
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	ctx := plainjobstest.Context(t, plainjobs.Info{
		ID: 7, Name: sized.Name(), Attempt: 4, CreatedAt: at, RunAt: at.Add(time.Hour), Payload: []byte(`"x"`),
		Metadata: map[string]string{"tenant": "a"}, UniqueKey: "u", SerialKey: "s",
	})
	info, ok = plainjobs.FromContext(ctx)
	if !ok || info.ID != 7 || info.Name != sized.Name() || info.Attempt != 4 || info.MaxAttempts != 6 || !info.CreatedAt.Equal(at) ||
		!info.RunAt.Equal(at.Add(time.Hour)) || string(info.Payload) != `"x"` || info.Metadata["tenant"] != "a" || info.UniqueKey != "u" || info.SerialKey != "s" {
		t.Errorf("the run is %+v", info)
	}
	plainjobs.Progress(ctx, 1, 2)
	plainjobs.Logger(ctx).Debug("logged")
	before := mails.Load()
	if _, err := plainjobs.Perform(ctx, doubleOptIn.With(contact{"ada@example.com"})); err != nil || mails.Load() == before {
		t.Errorf("Perform in the handler returned %v, and the job has run: %v", err, mails.Load() != before)
	}
	_, q := plainjobstest.Memory(t)
	if _, err := plainjobs.Perform(plainjobs.NewContext(ctx, q), doubleOptIn.With(contact{"b"})); err != nil {
		t.Fatal(err)
	}
	plainjobstest.RequireEnqueued(t, q, doubleOptIn, contact{"b"})
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, ok := plainjobs.FromContext(ended); !ok || ended.Err() == nil {
		t.Error("a context derived from it is not the run's, or does not end")
	}
}
