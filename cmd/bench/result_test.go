package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		sorted []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{1, 4}, 2.5},
		{[]float64{1, 2, 90}, 2},
		{[]float64{1, 2, 4, 90}, 3},
	} {
		if got := median(test.sorted); got != test.want {
			t.Errorf("median of %v is %v, not %v", test.sorted, got, test.want)
		}
	}
}

// made returns a session with results that never were measured.
func made(results ...child.Result) (*session, combination) {
	c := combination{scenario: child.Lookup("drain"), driver: drivers[2], workers: 2}
	s := &session{config: config{
		scenarios: []*child.Scenario{c.scenario},
		drivers:   []*driver{c.driver},
		workers:   []int{c.workers},
		jobs:      100,
		count:     len(results),
	}}
	for _, r := range results {
		s.results = append(s.results, result{c, r})
	}
	return s, c
}

func TestLostJobsFail(t *testing.T) {
	s, _ := made(
		child.Result{Seconds: 1, Jobs: 100, Durability: "full"},
		child.Result{Seconds: 1, Jobs: 100, Lost: 3, Durability: "full"},
	)
	faults := s.faults()
	if len(faults) != 1 || faults[0].Error() != "drain modernc, workers 2: 3 of 100 jobs were lost" {
		t.Errorf("%v", faults)
	}
	if all := s.summaries(); len(all) != 1 || all[0].lost != 3 {
		t.Errorf("%+v", all)
	}
}

func TestRepeatedJobsAreNoFault(t *testing.T) {
	s, _ := made(child.Result{Seconds: 1, Jobs: 100, Repeated: 2, Durability: "full"})
	if faults := s.faults(); len(faults) > 0 {
		t.Errorf("%v", faults)
	}
}

func TestFaults(t *testing.T) {
	s, c := made(child.Result{Seconds: 1, Jobs: 100})
	s.unbuilt = map[*driver]error{c.driver: errors.New("no compiler")}
	if faults := s.faults(); len(faults) > 0 {
		t.Errorf("not asked for: %v", faults)
	}
	s.named = true
	if faults := s.faults(); len(faults) != 1 || faults[0].Error() != "modernc was not measured: no compiler" {
		t.Errorf("asked for: %v", faults)
	}
	s.failed = []error{errors.New("exit status 1")}
	if faults := s.faults(); len(faults) != 2 {
		t.Errorf("a failed run: %v", faults)
	}
}

func TestJSON(t *testing.T) {
	s, _ := made(
		child.Result{Seconds: 0.5, Jobs: 100, Lost: 1, Repeated: 2, Durability: "full"},
		child.Result{Seconds: 0.3, Jobs: 100, Repeated: 5, Durability: "full"},
	)
	var out bytes.Buffer
	for _, r := range s.results {
		if err := writeJSON(&out, r.line()); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeMedians(&out, s.summaries()); err != nil {
		t.Fatal(err)
	}
	const want = `{"scenario":"drain","driver":"modernc","workers":2,"processes":1,"jobs":100,"jobs_per_s":200,"lost":1,"repeated":2,"durability":"full"}
{"scenario":"drain","driver":"modernc","workers":2,"processes":1,"jobs":100,"jobs_per_s":333,"lost":0,"repeated":5,"durability":"full"}
{"scenario":"drain","driver":"modernc","workers":2,"processes":1,"jobs":100,"jobs_per_s":267,"lost":1,"repeated":7,"durability":"full","median":true}
`
	if out.String() != want {
		t.Errorf("got\n%s", &out)
	}
}

func TestTable(t *testing.T) {
	s, c := made(
		child.Result{Seconds: 0.01, Jobs: 100, Durability: "full"},
		child.Result{Seconds: 0.02, Jobs: 100, Durability: "full"},
	)
	single := combination{child.Lookup("single"), c.driver, 1}
	s.scenarios = append(s.scenarios, single.scenario)
	s.results = append(s.results, result{single, child.Result{Seconds: 0.1, Jobs: 100, Durability: "full"}})
	s.machine = machine{cpu: "Abacus 3", cores: 2, fileSystem: "ext4"}
	missing := &driver{name: "mattn"}
	s.drivers = append(s.drivers, missing)
	s.unbuilt = map[*driver]error{missing: errors.New("no compiler")}
	var out bytes.Buffer
	if err := writeTable(&out, s); err != nil {
		t.Fatal(err)
	}
	header, rest, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(header, "Abacus 3, 2 cores, ") || !strings.HasSuffix(header, ", files on ext4") {
		t.Errorf("header %q", header)
	}
	const want = `100 jobs a run, median of 2 runs, alternating
full: a pushed job survives a power cut; that it was done may be forgotten in one, and it runs again

scenario  driver   workers  durability    jobs/s  (min–max)     lost  repeated  times single
drain     modernc        2  full            7500  (5000–10000)     0         0           7.5
single    modernc        1  full            1000  (1000–1000)      0         0
mattn was not measured: no compiler
`
	if rest != want {
		t.Errorf("got\n%s", rest)
	}
}
