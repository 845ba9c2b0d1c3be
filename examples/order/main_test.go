package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

func TestMain(m *testing.M) {
	if os.Getenv("ORDER_TEST_BE_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A small order is sent at once, and a large one waits for its approval.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args     []string
		out, err string
	}{
		{[]string{"place", "1", "lamp", "4500"}, `^flow \d+\n$`, ``},
		{[]string{"place", "2", "piano", "250000"}, `^flow \d+\n$`, ``},
		{[]string{"work", "--drain"}, `^$`, `(?s)order 1 leaves the shelf of the lamp with receipt 1001\n.*mail: order 1 is on its way\n`},
		{[]string{"groups"}, `order 2 +open +1 of 5 `, ``},
		{[]string{"jobs", "--name", "approve"}, `scheduled`, ``},
		{[]string{"approve", "2", "Ada"}, `^$`, ``},
		{[]string{"work", "--drain"}, `^$`, `(?s)order 2 leaves the shelf of the piano with receipt 1002\n.*mail: order 2 is on its way\n`},
		{[]string{"groups", "--all"}, `order 2 +done +5 of 5 `, ``},
		{[]string{"flow", "1"}, `├─ reserve #\d+: done\n│  └─ ship #\d+: done \(and #\d+\)\n│     └─ end: mail #\d+: done\n└─ charge #\d+: done\n`, ``},
	} {
		c := exec.Command(os.Args[0], test.args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "ORDER_TEST_BE_PROGRAM=1")
		var stderr strings.Builder
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil || !regexp.MustCompile(test.out).Match(out) || !regexp.MustCompile(test.err).MatchString(stderr.String()) {
			t.Fatalf("%q printed %q and %q, %v; want %s and %s", test.args, out, stderr.String(), err, test.out, test.err)
		}
	}
}

// What cannot be sent is mailed, too: an item that does not exist, and an order that a person
// refuses.
func TestRefused(t *testing.T) {
	ctx, q := plainjobstest.Memory(t)
	for _, o := range []order{{ID: 1, Cents: 10}, {ID: 2, Item: "boat", Cents: 900_000}} {
		if err := approval.Send(ctx, q, o.key(), decision{false, "Ada"}); err != nil {
			t.Fatal(err)
		}
		flow, err := place(ctx, q, o)
		if err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q, plainjobstest.Failures())
		info, err := flow.Info(ctx)
		if err != nil || info.EndedAt.IsZero() || info.Cancelled == 0 {
			t.Errorf("order %d: %+v, %v", o.ID, info, err)
		}
		for name, want := range map[string]plainjobs.State{"ship": plainjobs.Cancelled, "mail": plainjobs.Done} {
			jobs, _, err := q.List(ctx, plainjobs.Filter{Group: flow.ID(), Names: []string{name}}, 0, 0)
			if err != nil || len(jobs) != 1 || jobs[0].State != want {
				t.Errorf("order %d: %s is %+v, %v; want %v", o.ID, name, jobs, err, want)
			}
		}
	}
}
