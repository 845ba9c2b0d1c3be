package child

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

var moderncDriver = Driver{
	Kind: SQLite,
	Open: func(o Order) (backend.Backend, error) { return modernc.Open(o.Path, nil) },
	SQL:  "sqlite",
}

var memoryDriver = Driver{
	Kind: Memory,
	Open: func(Order) (backend.Backend, error) { return memory.New(nil), nil },
}

// The scenarios that have helpers start this program again for them.
func TestMain(m *testing.M) {
	if os.Getenv(helperVar) != "" {
		Main(moderncDriver)
		return
	}
	os.Exit(m.Run())
}

func TestScenarios(t *testing.T) {
	var names []string
	for _, s := range Scenarios() {
		for name, d := range map[string]Driver{"modernc": moderncDriver, "memory": memoryDriver} {
			if !s.Is(d.Kind) {
				continue
			}
			t.Run(s.Name+"/"+name, func(t *testing.T) {
				if strings.Contains(s.Name, "idle") || s.Name == "memory" {
					t.Parallel() // they mostly wait
				}
				checkScenario(t, s, d)
			})
		}
		names = append(names, s.Name)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Errorf("two of one name in %v", names)
	}
}

func checkScenario(t *testing.T, s *Scenario, d Driver) {
	o := Order{
		Scenario: s.Name, Path: filepath.Join(t.TempDir(), "jobs?#%41.db"),
		Workers: 3, Processes: 2, Jobs: 300, Brief: true,
	}
	if s.Name == "limit" {
		o.CPUProfile = filepath.Join(t.TempDir(), "profile")
	}
	results, err := s.run(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 {
		t.Error("no results")
	}
	want := map[bool]string{true: "full", false: "none"}[d.SQL != ""]
	for _, r := range results {
		if r.Lost != 0 || r.Repeated != 0 || r.Jobs < 1 || r.Durability != want || r.Seconds <= 0 {
			t.Errorf("%+v", r)
		}
		if (r.Latency != nil) != (s.Latency != "") {
			t.Errorf("%s has latency %v", s.Name, r.Latency)
		}
		if l := r.Latency; l != nil && (l.P50 > l.P95 || l.P95 > l.P99 || l.P99 > l.Max || l.Max <= 0) {
			t.Errorf("%+v", *l)
		}
	}
	if o.CPUProfile != "" {
		if info, err := os.Stat(o.CPUProfile); err != nil || info.Size() == 0 {
			t.Errorf("profile: %v, %v", info, err)
		}
	}
}

// forgetful does not store every seventh completion, and reports success.
type forgetful struct{ *memory.Backend }

func (b forgetful) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	done = slices.DeleteFunc(slices.Clone(done), func(c backend.Completion) bool { return c.ID%7 == 0 })
	return b.Backend.Complete(ctx, done)
}

func TestDrainFindsLostJobs(t *testing.T) {
	d := Driver{Kind: Memory, Open: func(Order) (backend.Backend, error) { return forgetful{memory.New(nil)}, nil }}
	for _, s := range []*Scenario{drain, fail} {
		results, err := s.run(t.Context(), d, Order{Scenario: s.Name, Workers: 2, Jobs: 70})
		if err != nil {
			t.Fatal(err)
		}
		if len(results) != 1 || results[0].Lost != 10 {
			t.Errorf("%s: 10 jobs are lost: %+v", s.Name, results)
		}
	}
}
