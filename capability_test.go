package plainjobs_test

import (
	"errors"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// engineless is a store without capabilities.
type engineless struct{ backend.Backend }

func TestMissingCapabilities(t *testing.T) {
	q := plainjobs.New(engineless{}, nil)
	ctx := t.Context()
	for what, call := range map[string]func() error{
		"get":            func() error { _, err := q.Get(ctx, 1); return err },
		"list":           func() error { _, _, err := q.List(ctx, plainjobs.Filter{}, 0, 0); return err },
		"counts":         func() error { _, err := q.Counts(ctx); return err },
		"workers":        func() error { _, err := q.Workers(ctx); return err },
		"names":          func() error { _, err := q.Names(ctx); return err },
		"retry":          func() error { _, err := q.Retry(ctx, plainjobs.Filter{IDs: []int64{1}}); return err },
		"pause":          func() error { return q.Pause(ctx, "") },
		"schedules":      func() error { _, err := q.Schedules(ctx); return err },
		"pause schedule": func() error { return q.PauseSchedule(ctx, "x", true) },
	} {
		if err := call(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s on a store without the capability = %v, want ErrUnsupported", what, err)
		}
	}
}
