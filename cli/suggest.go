package cli

import (
	"fmt"
	"strings"
)

// likely returns the name that is closest to a mistyped one, or "" if none is close.
func likely(typed string, names []string) (best string) {
	least := max(2, len(typed)/3) + 1
	for _, name := range names {
		d := distance(typed, name)
		if len(typed) >= 3 && strings.HasPrefix(name, typed) {
			d = 1
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// didYouMean returns the likely name as the end of a sentence.
func didYouMean(typed string, names []string) string {
	if like := likely(typed, names); like != "" {
		return fmt.Sprintf("; did you mean %q?", like)
	}
	return ""
}

// distance is the number of bytes to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := corner
			if a[i] != b[j] {
				replace++
			}
			corner = row[j+1]
			row[j+1] = min(replace, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
