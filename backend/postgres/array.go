package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// Arrays are passed as text and cast in the statement, for example
// $1::text::bigint[], because not every driver accepts slices.

// intArray returns the text of an array of numbers.
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

// parseInts parses the text of an array of numbers.
func parseInts(text string) (numbers []int64, err error) {
	text = strings.Trim(text, "{}")
	if text == "" {
		return nil, nil
	}
	for element := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseInt(element, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: an array contains %q instead of a number", backend.ErrCorrupt, element)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// boolArray returns the text of an array of booleans.
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

// textArray returns the text of an array of strings.
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
