package plainjobs_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
)

var daily = plainjobs.Cron("life/daily", "30 2 * * *", func(context.Context, time.Time) error { return nil },

	plainjobs.Zone("Europe/Berlin"), plainjobs.MaxAttempts(3))
var keyedTick = plainjobs.Every("life/keyed-tick", time.Hour, func(context.Context, time.Time) error { return nil },

	plainjobs.UniqueBy(func(time.Time) string { return "k" }, plainjobs.Reject()))

// RunSchedule returns the ID of a job that exists already, with ErrDuplicate.
func TestRunScheduleTwice(t *testing.T) {
	q, _ := newQueue(t, nil)
	first, err := q.RunSchedule(t.Context(), keyedTick.Name())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := q.RunSchedule(t.Context(), keyedTick.Name()); id != first || !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("RunSchedule = %d, %v, want %d and ErrDuplicate", id, err, first)
	}
}

func TestNextTicks(t *testing.T) {
	ticks, err := plainjobs.NextTicks(daily.Name(), time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC), 3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tick := range ticks {
		got = append(got, tick.Format(time.RFC3339))
	}
	// On the 29th the clock goes from 2:00 to 3:00.
	want := []string{"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}
	if !slices.Equal(got, want) {
		t.Errorf("ticks are %q, want %q", got, want)
	}
	if _, err := plainjobs.NextTicks("unknown", time.Now(), 1); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("NextTicks of no schedule = %v", err)
	}
	q, _ := newQueue(t, nil)
	id, err := q.RunSchedule(t.Context(), daily.Name())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := q.Get(t.Context(), id); err != nil || info.Name != daily.Name() || info.MaxAttempts != 3 {
		t.Errorf("RunSchedule pushed %+v, %v", info, err)
	}
}
