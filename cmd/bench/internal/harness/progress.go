package harness

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// A Progress is a line on a terminal that shows which run goes on.
type Progress struct {
	out   io.Writer // nil: no progress
	shown bool
}

// NewProgress returns a progress on out, which shows nothing unless out is a
// terminal.
func NewProgress(out io.Writer) *Progress {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &Progress{out: out}
	}
	return &Progress{}
}

// eraseLine goes to the start of the terminal's line and clears it.
const eraseLine = "\r\x1b[K"

// Show replaces the line.
func (p *Progress) Show(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, eraseLine+format, args...)
		p.shown = true
	}
}

// Clear makes room for other output.
func (p *Progress) Clear() {
	if p.shown {
		fmt.Fprint(p.out, eraseLine)
		p.shown = false
	}
}
