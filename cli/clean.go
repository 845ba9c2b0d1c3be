package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean escapes the control characters of a text. Jobs contain text from untrusted
// sources, and control sequences can change a terminal's title, hide lines, or make
// the terminal send input.
func clean(text string) string { return cleaned(text, "") }

// cleanLines is like clean, and keeps newlines and tabs.
func cleanLines(text string) string { return cleaned(text, "\n\t") }

func cleaned(text, keep string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80 && hidden(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case hidden(r):
			if r > 0xffff {
				fmt.Fprintf(&b, `\U%08x`, r)
			} else {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// hidden reports whether a terminal may act on r instead of showing it: controls,
// also beyond ASCII, and characters that change the direction of text.
func hidden(r rune) bool {
	return unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// cut shortens a text to n runes. The last one is then an ellipsis.
func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
