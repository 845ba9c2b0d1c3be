package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// A progress is a line on a terminal that says what is going on.
type progress struct {
	out   io.Writer // nil: no progress
	shown bool
}

func newProgress(out io.Writer) *progress {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{out: out}
	}
	return &progress{}
}

// eraseLine goes to the start of the terminal's line and clears it.
const eraseLine = "\r\x1b[K"

func (p *progress) show(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, eraseLine+format, args...)
		p.shown = true
	}
}

// clear makes room for other output.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, eraseLine)
		p.shown = false
	}
}
