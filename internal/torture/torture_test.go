package torture_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/plainjobs/plainjobs/internal/torture"
)

// Each test in its short form, on all drivers together where that makes sense,
// and what kills with each of them. PLAINJOBS_TORTURE_SEED repeats a seed;
// "go run ./cmd/torture -short" has the short forms with every driver.
func TestShort(t *testing.T) {
	programs := torture.NewPrograms(t.TempDir())
	seed := uint64(1)
	if text := os.Getenv("PLAINJOBS_TORTURE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range torture.Tests() {
		for _, driver := range torture.Stores {
			kills := test.ID == "kill" || test.ID == "pushkill"
			if !test.RunsOn(driver) || test.Mixed && driver != torture.Mixed && !kills || test.ID == "sim" || test.ID == "model" {
				// The short forms of sim and model are tests of other packages.
				continue
			}
			t.Run(test.ID+"/"+driver, func(t *testing.T) {
				t.Parallel()
				r, err := test.Run(t.Context(), torture.Config{
					Driver: driver, Seed: seed, Short: true, Dir: t.TempDir(), Out: t.Output(), Programs: programs,
				})
				if skip := (*torture.Skip)(nil); errors.As(err, &skip) {
					t.Skip(skip)
				}
				t.Log(r)
				for i, part := range r.LeftOut {
					t.Run(fmt.Sprint("part", i), func(t *testing.T) { t.Skip(part) })
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range r.Faults {
					t.Error(f)
				}
			})
		}
	}
}
