package plainjobs_test

import (
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
)

func TestEvents(t *testing.T) {
	q, _ := newQueue(t, nil)
	var kinds []plainjobs.EventKind
	stop := q.Subscribe(func(e plainjobs.Event) { kinds = append(kinds, e.Kind) })
	twice := lifeJob.With("", plainjobs.Unique("once"))
	for range 2 {
		if _, err := q.Perform(t.Context(), twice); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if _, err := q.Perform(t.Context(), lifeJob.With("")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(kinds, []plainjobs.EventKind{plainjobs.EventPushed}) || kinds[0].String() != "pushed" {
		t.Errorf("events are %v, want one push: a duplicate is no push, and nothing was subscribed at the last", kinds)
	}
}

// The event of a push has the Info that the store has.
func TestPushedEvent(t *testing.T) {
	q, b := newQueue(t, nil)
	var told plainjobs.Info
	defer q.Subscribe(func(e plainjobs.Event) { told = e.Job })()
	for _, c := range []struct {
		task plainjobs.Task
		want plainjobs.State
	}{
		{lifeJob.With(""), plainjobs.Pending},
		{lifeJob.With("", plainjobs.In(time.Hour), plainjobs.Priority(2), plainjobs.MaxAttempts(9)), plainjobs.Scheduled},
	} {
		id, err := q.Perform(t.Context(), c.task)
		if err != nil {
			t.Fatal(err)
		}
		stored := get(t, b, id)
		if told.ID != id || told.State != c.want || stored.State != c.want || told.Priority != stored.Priority || told.MaxAttempts != stored.MaxAttempts {
			t.Errorf("the event has %+v, the store has %+v", told, stored)
		}
		if told.CreatedAt.Before(stored.CreatedAt) || told.RunAt.Sub(told.CreatedAt) != stored.RunAt.Sub(stored.CreatedAt) {
			t.Errorf("the event has %v for %v, the store has %v for %v", told.CreatedAt, told.RunAt, stored.CreatedAt, stored.RunAt)
		}
	}
}
