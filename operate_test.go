package plainjobs_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs"
)

// Operations by ID do what those by any other filter do, however many IDs there
// are and in which order: of several jobs with one unique key the newest has it.
func TestOperateOnManyIDs(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	unique := testJob.With(order{}, plainjobs.Unique("k"))
	oldest, err := q.Perform(ctx, unique)
	if err != nil {
		t.Fatal(err)
	}
	all := []int64{oldest}
	cancel := func(ids []int64, want int) {
		t.Helper()
		if n, err := q.Cancel(ctx, plainjobs.Filter{IDs: ids}); n != want || err != nil {
			t.Fatalf("Cancel = %d, %v, want %d", n, err, want)
		}
	}
	cancel(all, 1)
	many := slices.Repeat([]plainjobs.Task{testJob.With(order{})}, 2500)
	ids, err := q.PerformMany(ctx, append(many, unique)...)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, ids...)
	cancel(slices.Concat(all, all), 2501) // each is named twice
	given := slices.Clone(all)
	n, err := q.Retry(ctx, plainjobs.Filter{IDs: all})
	if n != 2501 || !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("Retry = %d, %v, want 2501 and ErrDuplicate", n, err)
	}
	if got := get(t, b, oldest).State; got != plainjobs.Cancelled {
		t.Errorf("the oldest is %v, and the newest has its key", got)
	}
	if !slices.Equal(all, given) {
		t.Error("the caller's list has changed")
	}
}
