package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean returns a text so that a terminal shows it and does nothing else: what
// is in jobs was written by strangers, and a terminal can be told to change its
// title, to hide lines, or to answer as if it had been typed.
func clean(text string) string { return cleaned(text, "") }

// cleanLines is clean for a text of several lines.
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

// hidden reports whether a terminal does something with r instead of showing it:
// controls, also those beyond ASCII, and what changes the direction of the text
// around.
func hidden(r rune) bool {
	return unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// cut returns the first n runes of a text, with a mark if there are more.
func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
