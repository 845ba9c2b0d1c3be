package main

import (
	"bytes"
	"regexp"
	"testing"
)

// The programs compile, and each has a size.
func TestSizes(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, []string{"memory"}, false); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`\n *memory( +[0-9.]+ MB){5} *\n$`).Match(out.Bytes()) {
		t.Errorf("it printed\n%s", out.String())
	}
}
