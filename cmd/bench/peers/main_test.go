package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// TestMain makes the test program a child as main does the program.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		childMain()
		return
	}
	code := m.Run()
	pgcluster.Stop()
	os.Exit(code)
}

// TestSQLiteLibraries runs every library on SQLite in every scenario, in
// processes as the program does, with a handful of jobs.
func TestSQLiteLibraries(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the Go tool, which finds goqite's schema, is not there")
	}
	t.Setenv(postgresVariable, "")
	testLibraries(t, storeSQLite)
}

// TestPostgresLibraries does the same on a server.
func TestPostgresLibraries(t *testing.T) {
	t.Setenv(postgresVariable, pgcluster.Connect(t))
	testLibraries(t, storePostgres, "-libraries", "plainjobs/pgx,river/pgx")
	if !pgcluster.Owned() { // other programs may use it
		return
	}
	err := harness.OnServer(t.Context(), os.Getenv(postgresVariable), func(ctx context.Context, conn *pgx.Conn) error {
		var left int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'peers\_%'`).Scan(&left)
		if left > 0 {
			t.Errorf("%d schemas were left", left)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// testLibraries runs the libraries on a store, with additional arguments.
func testLibraries(t *testing.T, store string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), append(args,
		"-json", "-count", "1", "-jobs", "60", "-time", "200ms", "-rate", "200", "-goroutines", "4", "-workers", "10", "-dir", dir,
	), &stdout, &stderr)
	if status != 0 {
		t.Errorf("status %d", status)
	}
	t.Logf("%s", &stderr) // lists what is left out
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	seen := map[string]bool{}
	for text := range strings.Lines(stdout.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if l.Median {
			continue
		}
		key := fmt.Sprintf("%s/%s %s", l.Library, l.Driver, l.Scenario)
		seen[key+" "+l.Durability] = true
		if store == storePostgres && pgcluster.Owned() { // it has no fsync
			if l.Durability != normal {
				t.Errorf("%s", text)
			}
			seen[key+" "+full] = true
		}
		if l.Lost != 0 || l.Jobs == 0 || l.JobsPerS <= 0 || !strings.HasPrefix(l.DriverVersion, "v") {
			t.Errorf("%s", text)
		}
		if l.Scenario == drain && l.Jobs != 60 || l.Scenario == live && (l.Jobs != 40 || l.P50 <= 0 || l.Max < l.P99) {
			t.Errorf("%s", text)
		}
		want := l.Durability // only plainjobs separates the two
		if l.Library == "plainjobs" {
			want = normal
		}
		if l.Scenario != push && l.WorkDurability != want {
			t.Errorf("%s", text)
		}
	}
	for _, l := range libraries {
		for _, s := range []string{drain, push, live} {
			for _, d := range []string{full, normal} {
				key := l.String() + " " + s + " " + d
				if l.store == store && l.open != nil && !seen[key] {
					t.Errorf("%s was not measured", key)
				}
			}
		}
	}
}

func TestWrongArguments(t *testing.T) {
	t.Setenv(postgresVariable, "")
	for _, args := range [][]string{
		{"-scenario", "drian"},
		{"-libraries", "goqite"},
		{"-libraries", "asynq/go-redis"}, // without an address
		{"-libraries", "river/pgx"},      // likewise
		{"-durability", "off"},
		{"-count", "0"},
		{"-time", "2"},
		{"-redis", "localhost"},
		{"drain"},
		{"-dir", "no such directory"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args, &stdout, &stderr); status != 2 || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%v: status %d\n%s%s", args, status, &stdout, &stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Setenv(postgresVariable, "postgres://u:secret@host/db")
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-h"}, &stdout, &stderr); status != 0 {
		t.Errorf("status %d", status)
	}
	for _, l := range libraries {
		if !strings.Contains(stdout.String(), l.String()) {
			t.Errorf("%v is not in\n%s", l, &stdout)
		}
	}
	if strings.Contains(stdout.String(), "secret") {
		t.Errorf("the password is in\n%s", &stdout)
	}
}

// A server that cannot be reached ends the session, without its password.
func TestPostgresUnreachable(t *testing.T) {
	for _, dsn := range []string{"postgres://u:wrong-secret@127.0.0.1:1/db", "postgres://u:wrong-secret@127.0.0.1:port/db"} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), []string{
			"-scenario", "drain", "-libraries", "plainjobs/pgx,river/pgx", "-durability", "full", "-count", "1", "-postgres", dsn,
		}, &stdout, &stderr)
		if status != 1 || strings.Contains(stdout.String()+stderr.String(), "wrong-secret") {
			t.Errorf("status %d: %s%s", status, &stdout, &stderr)
		}
	}
}

// TestPlan checks the order of a round, and servers.
func TestPlan(t *testing.T) {
	c, err := parse([]string{"-scenario", "push", "-redis", "a:1,b:2"})
	if err != nil {
		t.Fatal(err)
	}
	var redis []string
	plan := c.plan()
	for i, p := range plan {
		if p.redis != "" {
			redis = append(redis, p.redis)
		}
		if i > 0 && p == plan[i-1] {
			t.Errorf("%v twice", p)
		}
	}
	if plan[0].library == plan[1].library {
		t.Errorf("%v before %v", plan[0], plan[1])
	}
	if !slices.Equal(redis, []string{"a:1", "b:2", "a:1", "b:2"}) { // 1 and 128 goroutines
		t.Errorf("%v", redis)
	}
}

type countdown struct {
	peer
	unfinishedLeft []int
}

func (c *countdown) unfinished(context.Context) (n int, err error) {
	n, c.unfinishedLeft = c.unfinishedLeft[0], c.unfinishedLeft[1:]
	return n, nil
}

func TestTally(t *testing.T) {
	counts := newTally(4)
	for _, index := range []int{0, 1, 1, 2, 3, 3, 3} {
		if err := counts.Handle(index); err != nil {
			t.Fatal(err)
		}
	}
	left, err := counts.wait(t.Context(), &countdown{unfinishedLeft: []int{2, 1, 0}})
	if left != 0 || err != nil {
		t.Errorf("%d, %v", left, err)
	}
	var r result
	counts.into(&r, 1)
	if r != (result{Jobs: 4, Lost: 1, Repeated: 2}) {
		t.Errorf("%+v", r)
	}
}

func TestTable(t *testing.T) {
	ours := line{Library: "plainjobs", Driver: "modernc", Version: "v2", DriverVersion: "v3", Store: storeSQLite, Workers: 2,
		Scenario: drain, Jobs: 100, JobsPerS: 9000, Durability: full, WorkDurability: normal, low: 8000, high: 9500}
	theirs := ours
	theirs.Library, theirs.JobsPerS, theirs.Durability = "other", 3000, normal
	stricter := theirs
	stricter.Durability, stricter.WorkDurability, stricter.Lost = full, full, 7
	rows := []line{ours, theirs, stricter}
	for i, want := range []float64{0, 3, 0} {
		if f := factor(rows[i], rows); f != want {
			t.Errorf("%v: factor %v, not %v", rows[i], f, want)
		}
	}
	var out bytes.Buffer
	if err := writeRows(&out, drain, 1, rows); err != nil {
		t.Fatal(err)
	}
	const want = `
drain      driver   pushes  work       jobs    jobs/s  (min–max)    lost  repeated  plainjobs is
plainjobs  modernc  full    normal      100      9000  (8000–9500)     0         0
other      modernc  normal  normal      100      3000  (8000–9500)     0         0          3.0×
other      modernc  full    full        100      3000  (8000–9500)     7         0
`
	if out.String() != want {
		t.Errorf("got\n%s", &out)
	}
}

func TestMedianOf(t *testing.T) {
	m := medianOf([]line{{JobsPerS: 5, P50: 3, Lost: 1, Max: 4}, {JobsPerS: 1, P50: 9, Max: 8}, {JobsPerS: 3, P50: 4, Lost: 2, Repeated: 3}})
	if m.JobsPerS != 3 || m.low != 1 || m.high != 5 || m.P50 != 4 || m.Lost != 3 || m.Repeated != 3 || m.Max != 8 || !m.Median {
		t.Errorf("%+v", m)
	}
}
