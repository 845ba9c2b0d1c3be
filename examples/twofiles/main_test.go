package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

func TestMain(m *testing.M) {
	if os.Getenv("TWOFILES_TEST_BE_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestProgram(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args []string
		out  string
	}{
		{[]string{"order", "3"}, ""},
		{[]string{"order", "3"}, ""},
		{[]string{"orders"}, "order 3 shipped=false\n"},
		{[]string{"work", "--drain"}, ""},
		{[]string{"orders"}, "order 3 shipped=true\n"},
		{[]string{"jobs", "--count"}, "1\n"},
	} {
		c := exec.Command(os.Args[0], test.args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "TWOFILES_TEST_BE_PROGRAM=1")
		c.Stderr = os.Stderr
		if out, err := c.Output(); err != nil || string(out) != test.out {
			t.Fatalf("%q printed %q, %v; want %q", test.args, out, err, test.out)
		}
	}
}

// A process that dies between the two commits leaves a job without an order. The job
// waits, and is cancelled in the end.
func TestOrderIsMissing(t *testing.T) {
	db, err := openOrders(filepath.Join(t.TempDir(), "orders.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	clock := plainjobstest.NewClock(time.Now())
	_, q := plainjobstest.Memory(t, plainjobstest.WithClock(clock))
	plainjobs.Handle(q, ship, db.ship)
	check := func(what string, want plainjobs.State) {
		t.Helper()
		plainjobstest.Drain(t, q, plainjobstest.Failures())
		if i := plainjobstest.RequireEnqueued(t, q, ship, 7); i.State != want {
			t.Errorf("%s the job is %v, want %v", what, i.State, want)
		}
	}
	if _, err := q.Perform(context.Background(), ship.With(7)); err != nil {
		t.Fatal(err)
	}
	check("without its order", plainjobs.Scheduled)
	if err := db.place(t.Context(), q, 7); err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * time.Second)
	check("when the order is there", plainjobs.Done)

	clock.Advance(-time.Hour) // the job is an hour old when it runs
	if _, err := q.Perform(context.Background(), ship.With(8)); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	plainjobstest.Drain(t, q, plainjobstest.Failures())
	if i := plainjobstest.RequireEnqueued(t, q, ship, 8); i.State != plainjobs.Cancelled {
		t.Errorf("without an order for an hour the job is %v", i.State)
	}
}
