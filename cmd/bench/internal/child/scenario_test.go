package child

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

func TestScenarios(t *testing.T) {
	d := Driver{
		Open: func(path string) (backend.Backend, error) { return modernc.Open(path, nil) },
		SQL:  "sqlite",
	}
	var names []string
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			o := Order{Scenario: s.Name, Path: filepath.Join(t.TempDir(), "jobs?#%41.db"), Workers: 3, Jobs: 1234}
			r, err := s.run(t.Context(), d, o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Lost != 0 || r.Repeated != 0 || r.Jobs != 1234 || r.Durability != "full" || r.Seconds <= 0 {
				t.Errorf("%+v", r)
			}
		})
		names = append(names, s.Name)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Errorf("two of one name in %v", names)
	}
}

// forgetful says that every seventh completion is stored when it is not.
type forgetful struct{ *memory.Backend }

func (b forgetful) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	done = slices.DeleteFunc(slices.Clone(done), func(c backend.Completion) bool { return c.ID%7 == 0 })
	return b.Backend.Complete(ctx, done)
}

func TestDrainFindsLostJobs(t *testing.T) {
	d := Driver{Open: func(string) (backend.Backend, error) { return forgetful{memory.New(nil)}, nil }}
	r, err := drain.run(t.Context(), d, Order{Scenario: "drain", Workers: 2, Jobs: 70})
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost != 10 {
		t.Errorf("%d jobs lost, not 10: %+v", r.Lost, r)
	}
}
