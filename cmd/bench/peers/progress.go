package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// A progress is a line on a terminal that says what is going on.
type progress struct {
	out io.Writer // nil: no progress
}

func newProgress(out io.Writer) progress {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return progress{out}
	}
	return progress{}
}

// show replaces the line; an empty one makes room for other output.
func (p progress) show(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, "\r\x1b[K"+format, args...)
	}
}
