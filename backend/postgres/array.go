package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// Arrays are handed over as their text and cast from it, as in
// $1::text::bigint[]: not every driver takes slices.

// intArray returns numbers as an array's text.
func intArray[T ~int | ~int16 | ~int64 | ~uint8](numbers []T) string {
	text := make([]byte, 0, 2+12*len(numbers))
	text = append(text, '{')
	for i, n := range numbers {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(n), 10)
	}
	return string(append(text, '}'))
}

// parseInts returns the numbers of an array's text.
func parseInts(text string) (numbers []int64, err error) {
	text = strings.Trim(text, "{}")
	if text == "" {
		return nil, nil
	}
	for element := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseInt(element, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: an array has %q where a number belongs", backend.ErrCorrupt, element)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// boolArray returns truths as an array's text.
func boolArray(truths []bool) string {
	text := make([]byte, 0, 2+2*len(truths))
	text = append(text, '{')
	for i, b := range truths {
		if i > 0 {
			text = append(text, ',')
		}
		if b {
			text = append(text, 't')
		} else {
			text = append(text, 'f')
		}
	}
	return string(append(text, '}'))
}

var quoteElement = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// textArray returns strings as an array's text.
func textArray(texts []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, t := range texts {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(quoteElement.Replace(t))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}
