package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible returns text with every character that could hide or reorder others, or that
// a browser drops, written as an escape. Line breaks and tabs stay.
func visible(text string) string {
	if !strings.ContainsFunc(text, hidden) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\r' && strings.HasPrefix(text[i+n:], "\n"):
		case hidden(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteString(text[i : i+n])
		}
		i += n
	}
	return b.String()
}

// hidden reports whether r is a control or format character.
func hidden(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.Is(unicode.C, r) || r == '\u2028' || r == '\u2029') && r != utf8.RuneError
}

// cut returns at most n runes of the first line of text.
func cut(text string, n int) string {
	line, rest, more := strings.Cut(strings.TrimSpace(prefix(text, 4*n+4)), "\n")
	more = more && rest != "" || len(text) > 4*n+4
	line = visible(line)
	if runes := []rune(line); len(runes) > n {
		line, more = string(runes[:n]), true
	}
	if more {
		line += " …"
	}
	return line
}

// prefix returns at most n bytes of text, and whole runes of it.
func prefix(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// shownBytes is how much of a text a page shows. A link leads to all of it.
const shownBytes = 32 << 10

// A block is a long text on a page.
type block struct {
	Text string
	Size string // of the whole, if the text is only its beginning
}

func newBlock(text string) block {
	b := block{}
	if len(text) > shownBytes {
		b.Size = size(len(text))
		text = prefix(text, shownBytes)
	}
	b.Text = visible(strings.TrimRight(text, "\n"))
	return b
}

// pretty indents JSON. It returns other data, and data too long for a page, unchanged.
func pretty(data []byte) string {
	var b bytes.Buffer
	if len(data) > shownBytes || json.Indent(&b, data, "", "  ") != nil {
		return string(data)
	}
	return b.String()
}

// size returns a number of bytes for people.
func size(n int) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// grouped returns a number with separators of thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// plural returns a number and a noun.
func plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

// quoted returns text as one word of a shell, and false if a command line cannot have it.
func quoted(text string) (string, bool) {
	if len(text) > 4<<10 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return hidden(r) || r == '\n' }) {
		return "", false
	}
	safe := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._/-=:@,+", r))
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !safe(r) }) < 0 {
		return text, true
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'", true
}
