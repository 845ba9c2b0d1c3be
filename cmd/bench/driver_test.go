package main

import (
	"errors"
	"testing"
)

func TestReason(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, test := range []struct {
		driver       driver
		output, want string
	}{
		{driver{cgo: true}, "package x/mattn: build constraints exclude all Go files in /x/mattn\n",
			"it needs cgo, which is off: CGO_ENABLED=0, or there is no C compiler"},
		{driver{cgo: true}, "# runtime/cgo\ncgo: C compiler \"gcc\" not found: exec: \"gcc\": executable file not found in $PATH\n",
			`go build: cgo: C compiler "gcc" not found: exec: "gcc": executable file not found in $PATH`},
		{driver{}, "# x\n\nx.go:1: one\nx.go:2: two\n", "go build: x.go:1: one (and 1 line more)"},
		{driver{}, "", "go build: exit status 1"},
	} {
		if got := test.driver.reason(failed, test.output).Error(); got != test.want {
			t.Errorf("got %q, not %q", got, test.want)
		}
	}
}
