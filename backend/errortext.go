package backend

import (
	"strings"
	"unicode/utf8"
)

// maxError is the length of the longest error text, in bytes.
const maxError = 64 << 10

// CleanError returns text as every store can keep it: valid UTF-8 without NUL of at most 64 KiB,
// with a mark if it is cut.
func CleanError(text string) string {
	const mark = " … (cut)"
	if cut := len(text) > maxError; cut {
		text = text[:maxError-len(mark)]
		for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
			text = text[:len(text)-1]
		}
		if r, n := utf8.DecodeLastRuneInString(text); r == utf8.RuneError && n == 1 {
			text = text[:len(text)-1]
		}
		return clean(text) + mark
	}
	return clean(text)
}

func clean(text string) string {
	// One byte for one byte, so that cleaning never lengthens a text.
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "?")
	}
	return strings.ReplaceAll(text, "\x00", "?")
}
