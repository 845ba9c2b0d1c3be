package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

type report struct {
	Year  int
	Notes string
}

var (
	byData   = plainjobs.Declare[report]("unique/by-data", plainjobs.UniqueByData(plainjobs.Reject()))
	byKey    = plainjobs.Define("unique/by-key", func(context.Context, string) error { return nil }, plainjobs.UniqueBy(func(s string) string { return s }))
	bySerial = plainjobs.Define("unique/by-serial", func(context.Context, string) error { return nil }, plainjobs.SerialBy(func(s string) string { return s }))
)

// UniqueByData makes data of any size the key, until the job has ended.
func TestUniqueByData(t *testing.T) {
	ctx, q := plainjobstest.Memory(t)
	plainjobs.Handle(q, byData, func(context.Context, report) error { return nil })
	long := strings.Repeat("long ", 10_000)
	for _, c := range []struct {
		data report
		err  error
	}{
		{report{2026, long}, nil}, {report{2026, long}, plainjobs.ErrDuplicate}, {report{2026, long + "."}, nil}, {report{2027, long}, nil}, {report{}, nil},
		{report{}, plainjobs.ErrDuplicate},
	} {
		if _, err := plainjobs.Perform(ctx, byData.With(c.data)); !errors.Is(err, c.err) {
			t.Errorf("Perform with %d and %d bytes returned %v, want %v", c.data.Year, len(c.data.Notes), err, c.err)
		}
	}
	plainjobstest.Drain(t, q)
	if _, err := plainjobs.Perform(ctx, byData.With(report{})); err != nil {
		t.Errorf("after the job is done Perform returned %v", err)
	}
	if message := panics(func() {
		plainjobs.Declare[int]("unique/by-data2", plainjobs.UniqueByData(plainjobs.Replace(), plainjobs.For(time.Hour)))
	}); !strings.Contains(message, "UniqueByData: Replace and For exclude each other") {
		t.Errorf("panicked with %s", message)
	}
}

// A key that stores refuse is an error in a test without a queue too.
func TestLongKeys(t *testing.T) {
	long := strings.Repeat("k", 256)
	_, memory := plainjobstest.Memory(t)
	for _, task := range []plainjobs.Task{byKey.With(long), bySerial.With(long)} {
		for what, perform := range map[string]func(context.Context, plainjobs.Task) (int64, error){"no queue": plainjobs.Perform, "a queue": memory.Perform} {
			if _, err := perform(t.Context(), task); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "the key of ") || !strings.Contains(err.Error(), "255") {
				t.Errorf("with %s Perform returned %v", what, err)
			}
		}
	}
	if _, err := plainjobs.Perform(t.Context(), byKey.With(long)); err == nil || !strings.Contains(err.Error(), "UniqueByData hashes") {
		t.Errorf("Perform returned %v", err)
	}
}

// Export has more data than a key may have bytes.
var Export = plainjobs.Declare[report]("export", plainjobs.UniqueByData())

func ExampleUniqueByData() {
	queue := plainjobs.New(memory.New(nil), nil)
	for range 2 {
		var stored bool
		id, err := queue.Perform(context.Background(), Export.With(report{2026, strings.Repeat("a long text ", 1000)}, plainjobs.Stored(&stored)))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(id, stored)
	}
	// Output:
	// 1 true
	// 1 false
}
