package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"text/tabwriter"
	"time"
	"unicode/utf16"

	"github.com/spf13/cobra"
)

// A screen is where a command prints: data to out, messages to err.
type screen struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	prompts  bool // in is a terminal
	live     bool // out is a terminal that takes control sequences
	vivid    bool // err is a terminal that takes control sequences
	people   bool // err is a terminal
	now      time.Time
	records  *slog.Logger // if set, messages are log records

	mu sync.Mutex // of err
}

func (p *program) screen(c *cobra.Command) *screen {
	s := &screen{in: c.InOrStdin(), out: c.OutOrStdout(), err: c.ErrOrStderr(), now: p.now()}
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	s.people = p.terminal(s.err)
	s.live, s.vivid = p.terminal(s.out) && !plain, s.people && !plain
	s.prompts = p.terminal(s.in)
	if f := c.Flags().Lookup("json"); f != nil {
		s.json = f.Value.String() == "true"
	}
	return s
}

// jsonFlag adds the flag --json.
func jsonFlag(c *cobra.Command) { c.Flags().Bool("json", false, "print one JSON object per line") }

// say prints a message.
func (s *screen) say(format string, args ...any) {
	if s.records != nil {
		s.records.Info("plainjobs: " + fmt.Sprintf(format, args...))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.err, cleanLines(fmt.Sprintf(format, args...)))
}

// Write writes to err text that is already clean.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err.Write(b)
}

// object prints v as one line of JSON.
func (s *screen) object(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := s.out.Write(escapeControls(b.Bytes()))
	return err
}

// escapeControls escapes characters in JSON that package json leaves and a terminal may
// act on. They occur in strings only.
func escapeControls(b []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(b) {
		switch {
		case r == '\n' || !hidden(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// The colours of cells. Their codes have the same length, so that tables stay aligned.
type colour int

const (
	normal colour = 39
	red    colour = 31
	green  colour = 32
	yellow colour = 33
)

func (c colour) paint(text string) string { return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text) }

// A cell is a text in a table.
type cell struct {
	text   string
	colour colour
}

// A table prints rows with aligned columns.
type table struct {
	header []string
	rows   [][]cell
}

func (t *table) add(texts ...any) {
	row := make([]cell, len(texts))
	for i, v := range texts {
		if c, ok := v.(cell); ok {
			row[i] = c
		} else {
			row[i] = cell{text: fmt.Sprint(v)}
		}
		row[i].text = clean(row[i].text)
	}
	t.rows = append(t.rows, row)
}

// print prints a table to out.
func (s *screen) print(t *table) error {
	return t.write(s.out, s.live)
}

func (t *table) write(to io.Writer, colours bool) error {
	// A column with a coloured cell has colours in all its rows, for alignment.
	painted := map[int]bool{}
	for _, row := range t.rows {
		for i, c := range row {
			painted[i] = painted[i] || colours && c.colour != 0
		}
	}
	rows := t.rows
	if t.header != nil {
		header := make([]cell, len(t.header))
		for i, text := range t.header {
			header[i].text = text
		}
		rows = append([][]cell{header}, rows...)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, c := range row {
			if painted[i] {
				if c.colour == 0 {
					c.colour = normal
				}
				c.text = c.colour.paint(c.text)
			}
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, c.text)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(b.Bytes()) {
		if _, err := to.Write(append(bytes.TrimRight(line, " \n"), '\n')); err != nil {
			return err
		}
	}
	return nil
}
