package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var batchOfOne = plainjobs.DefineBatch("batch-of-one", func(ctx context.Context, data []string) error {
	if len(data) != 1 {
		return fmt.Errorf("the batch has %d jobs", len(data))
	}
	if err := plainjobs.Record(ctx, 1); err == nil || !strings.Contains(err.Error(), "DefineBatch") {
		return fmt.Errorf("Record returned %w", err)
	}
	switch data[0] {
	case "bad":
		return plainjobs.BatchError{0: errors.New("the first")}
	case "outside":
		return plainjobs.BatchError{1: errors.New("the second")}
	}
	return nil
})

// Tests without a worker run batches of one.
func TestBatchInline(t *testing.T) {
	ctx, _ := plainjobstest.Inline(t)
	for data, want := range map[string]string{"good": "", "bad": "the first", "outside": "with the index 1, and the batch has 1 jobs"} {
		_, err := plainjobs.Perform(ctx, batchOfOne.With(data))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Perform of %s = %v, want %q", data, err, want)
		}
	}
}

// Options of batches are refused where there are none, and out of bounds.
func TestBatchOptions(t *testing.T) {
	handler := func(context.Context, []string) error { return nil }
	for want, define := range map[string]func(){
		"nil handler":                    func() { plainjobs.DefineBatch[int]("batch-options", nil) },
		"MaxBatch(0) is not within":      func() { plainjobs.DefineBatch("batch-options", handler, plainjobs.MaxBatch(0)) },
		"MaxBatch(1001) is not within":   func() { plainjobs.DefineBatch("batch-options", handler, plainjobs.MaxBatch(1001)) },
		"Linger(-1ns) is not within":     func() { plainjobs.DefineBatch("batch-options", handler, plainjobs.Linger(-1)) },
		"Linger(1h0m0s) is not within":   func() { plainjobs.DefineBatch("batch-options", handler, plainjobs.Linger(time.Hour)) },
		"it is an option of DefineBatch": func() { plainjobs.Declare[int]("batch-options", plainjobs.MaxBatch(5)) },
		"an option of DefineBatch":       func() { plainjobs.Declare[int]("batch-options", plainjobs.Linger(5)) },
		"its handler is that of Define": func() {
			plainjobs.Handle(plainjobs.New(memory.New(nil), nil), batchOfOne, func(context.Context, string) error { return nil })
		},
		"Options.Defaults: MaxBatch(500)": func() {
			plainjobs.New(memory.New(nil), &plainjobs.Options{Defaults: []plainjobs.DefineOption{plainjobs.MaxBatch(500)}})
		},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("panic %q, want %q", got, want)
				}
			}()
			define()
		}()
	}
	queue := plainjobs.New(memory.New(nil), &plainjobs.Options{Defaults: []plainjobs.DefineOption{plainjobs.MaxAttempts(3)}})
	if err := queue.Configure(batchOfOne, plainjobs.Concurrency(2)); err != nil {
		t.Error(err)
	}
}
