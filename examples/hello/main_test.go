package main

import (
	"os"
	"os/exec"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("HELLO_TEST_BE_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// The commands in the comment of the program work.
func TestHello(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args []string
		out  string
	}{
		{[]string{"perform", "hello", `{"name":"Ada"}`}, "1\n"},
		{[]string{"work", "--drain"}, "hello, Ada\n"},
		{[]string{"jobs", "--count", "--state", "done"}, "1\n"},
	} {
		c := exec.Command(os.Args[0], test.args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "HELLO_TEST_BE_PROGRAM=1")
		c.Stderr = os.Stderr
		if out, err := c.Output(); err != nil || string(out) != test.out {
			t.Fatalf("%q printed %q, %v; want %q", test.args, out, err, test.out)
		}
	}
}
