package plainjobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

func TestBadTaskOptions(t *testing.T) {
	q, b := newQueue(t, nil)
	long := strings.Repeat("k", 256)
	for want, task := range map[string]plainjobs.Task{
		"255":                      lifeJob.With("", plainjobs.Unique(long)),
		"Unique: the key is empty": lifeJob.With("", plainjobs.Unique("")),
		"Serial: the key is empty": lifeJob.With("", plainjobs.Serial("")),
		"NUL":                      lifeJob.With("", plainjobs.Serial("a\x00")),
		"For(-1s)":                 lifeJob.With("", plainjobs.Unique("k", plainjobs.For(-time.Second))),
		"Replace and For":          lifeJob.With("", plainjobs.Unique("k", plainjobs.For(time.Second), plainjobs.Replace())),
		"Before(the zero time)":    lifeJob.With("", plainjobs.Before(time.Time{})),
		"is not within 100 years":  lifeJob.With("", plainjobs.At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))),
		"UTC) is not within 100":   lifeJob.With("", plainjobs.Before(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))),
		"has passed":               lifeJob.With("", plainjobs.Before(time.Now().Add(-time.Hour))),
		"In(-1ns)":                 lifeJob.With("", plainjobs.In(-1)),
		"Replace and Reject":       lifeJob.With("", plainjobs.Unique("k", plainjobs.Replace(), plainjobs.Reject())),
		"Reject exclude":           lifeJob.With("", plainjobs.Unique("k", plainjobs.Reject(), plainjobs.Replace())),
		"is before the task's own": lifeJob.With("", plainjobs.In(2*time.Hour), plainjobs.Before(time.Now().Add(time.Hour))),
		"the task's own time":      lifeJob.With("", plainjobs.At(time.Now().Add(2*time.Hour)), plainjobs.Before(time.Now().Add(time.Hour))),
	} {
		if _, err := q.Perform(t.Context(), task); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Perform = %v, want %q", err, want)
		}
	}
	if counts, err := b.Count(t.Context()); err != nil || len(counts) > 0 {
		t.Errorf("refused tasks are stored: %v, %v", counts, err)
	}
}

func TestUniqueTasks(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	first, err := q.Perform(ctx, keyedJob.With(order{ID: 1}))
	if err != nil {
		t.Fatal(err)
	}
	again, err := q.Perform(ctx, keyedJob.With(order{ID: 1}))
	if err != nil || again != first {
		t.Errorf("Perform of a key that is taken = %d, %v, want %d", again, err, first)
	}
	if other, err := q.Perform(ctx, keyedJob.With(order{ID: 2})); err != nil || other == first {
		t.Errorf("Perform of another key = %d, %v", other, err)
	}
	rejected := lifeJob.With("", plainjobs.Unique("k", plainjobs.Reject()))
	id, err := q.Perform(ctx, rejected)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := q.Perform(ctx, rejected); got != id || !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("Perform that rejects = %d, %v, want %d and ErrDuplicate", got, err, id)
	}
	before, err := q.Counts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.PerformMany(ctx, lifeJob.With("a"), lifeJob.With("b"), rejected)
	var duplicate *backend.DuplicateError
	if !errors.As(err, &duplicate) || duplicate.Index != 2 || duplicate.ID != id {
		t.Errorf("PerformMany = %v, want a duplicate at index 2", err)
	}
	if after, err := q.Counts(ctx); err != nil || !slices.Equal(before, after) {
		t.Errorf("a refused PerformMany changed %v to %v, %v", before, after, err)
	}
	replace := func(data string) int64 {
		id, err := q.Perform(ctx, lifeJob.With(data, plainjobs.Unique("r", plainjobs.Replace()), plainjobs.In(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	old := replace("old")
	if replace("new") != old {
		t.Error("Replace stored another job")
	}
	if info, err := q.Get(ctx, old); err != nil || string(info.Payload) != `"new"` || info.UniqueKey != "r" {
		t.Errorf("the replaced job is %+v, %v", info, err)
	}
}

func TestMaxPending(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	if _, err := q.PerformMany(ctx, boundJob.With("a"), boundJob.With("b")); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Perform(ctx, boundJob.With("c")); !errors.Is(err, plainjobs.ErrQueueFull) {
		t.Errorf("Perform = %v, want ErrQueueFull", err)
	}
}
