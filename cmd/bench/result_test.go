package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{1, 4}, 2.5},
		{[]float64{2, 90, 1}, 2},
		{[]float64{90, 2, 4, 1}, 3},
	} {
		if got := harness.Median(test.values); got != test.want {
			t.Errorf("median of %v is %v, not %v", test.values, got, test.want)
		}
	}
}

// made returns a session with results that were not measured.
func made(results ...child.Result) (*session, combination) {
	c := combination{scenario: child.Lookup("drain"), driver: drivers[2], workers: 2, processes: 1}
	s := &session{config: config{
		scenarios: []*child.Scenario{c.scenario},
		drivers:   []*driver{c.driver},
		workers:   []int{c.workers},
		jobs:      100,
		count:     len(results),
	}}
	for _, r := range results {
		s.results = append(s.results, result{combination: c, Result: r})
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
	allocs, bytes1 := 3.0, 512.25
	s, _ := made(
		child.Result{Seconds: 0.5, Jobs: 100, Lost: 1, Repeated: 2, Durability: "full", Measures: child.Measures{
			Allocs: &allocs, Bytes: &bytes1, Latency: &child.Latency{P50: 1, P95: 2, P99: 3, Max: 4.56}}},
		child.Result{Seconds: 0.3, Jobs: 100, Repeated: 5, Durability: "full"},
	)
	s.results[0].limit = 400
	var out bytes.Buffer
	for _, r := range s.results {
		if err := writeJSON(&out, r.line()); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeMedians(&out, s.summaries()); err != nil {
		t.Fatal(err)
	}
	const want = `{"scenario":"drain","driver":"modernc","workers":2,"processes":1,"jobs":100,"jobs_per_s":200,"p50_us":1,"p95_us":2,"p99_us":3,"max_us":4.6,"allocs_per_job":3,"bytes_per_job":512.25,"of_limit":0.5,"lost":1,"repeated":2,"durability":"full"}
{"scenario":"drain","driver":"modernc","workers":2,"processes":1,"jobs":100,"jobs_per_s":333,"lost":0,"repeated":5,"durability":"full"}
{"scenario":"drain","driver":"modernc","workers":2,"processes":1,"jobs":100,"jobs_per_s":267,"p50_us":1,"p95_us":2,"p99_us":3,"max_us":4.6,"allocs_per_job":3,"bytes_per_job":512.25,"of_limit":0.5,"lost":1,"repeated":7,"durability":"full","median":true}
`
	if out.String() != want {
		t.Errorf("got\n%s", &out)
	}
}

func TestGoBench(t *testing.T) {
	s, _ := made(child.Result{Case: "a case", Seconds: 0.5, Jobs: 100, Measures: child.Measures{Latency: &child.Latency{P50: 1.26}}})
	s.results[0].limit = 400
	var out bytes.Buffer
	if err := writeBench(&out, s.results[0]); err != nil {
		t.Fatal(err)
	}
	name, rest, _ := strings.Cut(out.String(), "\t")
	if !strings.HasPrefix(name, "BenchmarkDrain/driver=modernc/workers=2/case=a_case-") {
		t.Errorf("name %q", name)
	}
	const want = "     100\t5000000.0 ns/op\t200 jobs/s\t1.3 p50-µs\t0 p95-µs\t0 p99-µs\t0 max-µs\t0.5 of-limit\n"
	if rest != want {
		t.Errorf("got %q", rest)
	}
}

func TestTable(t *testing.T) {
	s, c := made(
		child.Result{Seconds: 0.01, Jobs: 100, Durability: "full"},
		child.Result{Seconds: 0.02, Jobs: 100, Durability: "full"},
	)
	s.results[0].limit, s.results[1].limit = 20_000, 10_000
	single := combination{child.Lookup("single"), c.driver, 1, 1}
	idle := combination{child.Lookup("idle"), c.driver, 2, 1}
	s.scenarios = append(s.scenarios, single.scenario, idle.scenario)
	cpu := 0.456
	s.results = append(s.results,
		result{combination: single, Result: child.Result{Seconds: 0.1, Jobs: 100, Durability: "full"}},
		result{combination: idle, Result: child.Result{Case: "same process", Seconds: 1, Jobs: 10, Durability: "full",
			Measures: child.Measures{CPU: &cpu, Latency: &child.Latency{P50: 12.34, P95: 999.6, P99: 123_456, Max: 2e6}}}},
		result{combination: idle, Result: child.Result{Case: "foreign commit", Seconds: 1, Jobs: 10, Durability: "full"}},
	)
	s.machine = machine{Machine: harness.Machine{CPU: "Abacus 3", Cores: 2, FileSystem: "ext4"}, sqlite: map[string]string{"modernc": "3.0"}}
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
	const want = `SQLite: modernc 3.0
full: a pushed job survives a power cut; that it was done may be forgotten in one, and it runs again

drain: jobs pushed beforehand are worked off, by an empty handler
(100 jobs a run, median of 2 runs; limit is a bare loop over database/sql, 128 jobs a transaction, history kept)
driver   workers  durability  jobs/s  (min–max)     limit/s  of limit  times single  lost  repeated
modernc        2  full          7500  (5000–10000)    15000      0.50           7.5     0         0

single: the same by a bare loop over database/sql, one transaction for each claim and completion
(100 jobs a run, 1 run)
driver   durability  jobs/s  lost  repeated
modernc  full          1000     0         0

idle: a worker waits: CPU time, wake-ups, commits, and how soon it picks up a job
(10 jobs a run, 1 run; p50 to max are from the commit of a push to the handler)
driver   case            workers  durability      p50      p95     p99     max     CPU  lost  repeated
modernc  same process          2  full        12.3 µs  1.00 ms  123 ms  2.00 s  0.46 %     0         0
modernc  foreign commit        2  full                                                     0         0
mattn was not measured: no compiler
`
	if rest != want {
		t.Errorf("got\n%s", rest)
	}
}

func TestAdvice(t *testing.T) {
	s, c := made(child.Result{Seconds: 0.1, Jobs: 100})
	c.driver = drivers[3]
	s.drivers = append(s.drivers, c.driver)
	s.results = append(s.results, result{combination: c, Result: child.Result{Seconds: 0.05, Jobs: 100}})
	if got := strings.Join(s.advice(), "\n"); got != "drain: ncruces, 2.0 times modernc" {
		t.Errorf("%q", got)
	}
}

func TestCharts(t *testing.T) {
	s, c := made(child.Result{Seconds: 0.1, Jobs: 100})
	for _, r := range []child.Result{
		{Case: "a <case>", Seconds: 1, Jobs: 10, Measures: child.Measures{Latency: &child.Latency{P50: 12.34}}},
		{Case: "another", Seconds: 1, Jobs: 10},
	} {
		s.results = append(s.results, result{combination: combination{child.Lookup("idle"), c.driver, 2, 1}, Result: r})
	}
	s.scenarios = append(s.scenarios, child.Lookup("idle"))
	dir := t.TempDir()
	s.svg, s.html = filepath.Join(dir, "c.svg"), filepath.Join(dir, "c.html")
	if err := s.writeCharts(); err != nil {
		t.Fatal(err)
	}
	for path, wants := range map[string][]string{
		s.svg:  {"<svg", ">drain<", ">idle<", "modernc, 2", "another"},
		s.html: {"<!DOCTYPE html>", "<svg", "<h2>drain</h2>", "<h2>idle</h2>", "a &lt;case&gt;"},
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %q in %s", want, filepath.Base(path))
			}
		}
	}
}
