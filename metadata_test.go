package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// The pairs of a task are stored with those of the queue and take precedence.
func TestTaskMetadata(t *testing.T) {
	common := map[string]string{"trace": "t1", "tenant": "none"}
	q := plainjobs.New(memory.New(nil), &plainjobs.Options{Metadata: func(context.Context) map[string]string { return common }})
	plain := plainjobs.New(memory.New(nil), nil)
	ids, err := q.PerformMany(t.Context(), modest.With("a", plainjobs.Metadata(map[string]string{"tenant": "x"}), plainjobs.Metadata(map[string]string{"n": "1"})), modest.With("b"))
	if err != nil {
		t.Fatal(err)
	}
	alone, err := plain.Perform(t.Context(), modest.With("c", plainjobs.Metadata(map[string]string{"tenant": "y"})))
	if err != nil {
		t.Fatal(err)
	}
	none, err := plain.Perform(t.Context(), modest.With("c", plainjobs.Metadata(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Schedule("with-metadata", "@daily", modest.With("d", plainjobs.Metadata(map[string]string{"tenant": "z"}))); err != nil {
		t.Fatal(err)
	}
	scheduled, err := q.RunSchedule(t.Context(), "with-metadata")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    *plainjobs.Queue
		id   int64
		want map[string]string
	}{
		{q, ids[0], map[string]string{"trace": "t1", "tenant": "x", "n": "1"}}, {q, ids[1], common},
		{plain, alone, map[string]string{"tenant": "y"}}, {plain, none, nil}, {q, scheduled, map[string]string{"trace": "t1", "tenant": "z"}},
	} {
		if info, err := c.q.Get(t.Context(), c.id); err != nil || !maps.Equal(info.Metadata, c.want) {
			t.Errorf("job %s has %v (%v), want %v", info.Payload, info.Metadata, err, c.want)
		}
	}
	long := plainjobs.Metadata(map[string]string{"k": strings.Repeat("x", 64<<10)})
	if _, err := plain.Perform(t.Context(), modest.With("", long)); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("with too much metadata Perform returned %v", err)
	}
}

// A task carries what the data should not have.
func ExampleMetadata() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	plainjobs.Handle(queue, Goodbye, func(ctx context.Context, _ User) error {
		job, _ := plainjobs.FromContext(ctx)
		fmt.Println("for tenant", job.Metadata["tenant"])
		return nil
	})
	tenant, other := map[string]string{"tenant": "acme"}, map[string]string{"tenant": "other"}
	task := Goodbye.With(User{}, plainjobs.Metadata(tenant))
	if _, err := queue.PerformMany(context.Background(), task, Goodbye.With(User{}, plainjobs.Metadata(other))); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Goodbye)

	ended := plainjobs.Filter{Metadata: tenant, States: []plainjobs.State{plainjobs.Done, plainjobs.Failed}}
	jobs, _, err := queue.List(context.Background(), ended, 0, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, job := range jobs {
		fmt.Println(job.ID, job.State)
	}
	// Unordered output:
	// for tenant acme
	// for tenant other
	// 1 done
}
