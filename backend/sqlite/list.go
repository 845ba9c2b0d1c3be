package sqlite

import "strings"

// A list is a statement with lists of values of which few lengths are ever
// prepared: a shorter one is filled up by repeating its last value, which
// changes nothing in an IN list.
type list struct {
	before, each, after string
	texts               [len(listLengths)]string
}

var listLengths = [...]int{1, 4, 16, 64, 256}

const maxList = 256

// newList returns the statement before + (each, each, …) + after.
func newList(before, each, after string) *list {
	l := &list{before: before, each: each, after: after}
	for i, n := range listLengths {
		l.texts[i] = before + strings.TrimSuffix(strings.Repeat(each+",", n), ",") + after
	}
	return l
}

// fit returns the statement for n values and the length to fill them up to.
func (l *list) fit(n int) (text string, length int) {
	for i, length := range listLengths {
		if n <= length {
			return l.texts[i], length
		}
	}
	panic("sqlite: list is too long")
}

// appendIDs appends ids to args, filled up to length.
func appendIDs(args []any, ids []int64, length int) []any {
	for _, id := range ids {
		args = append(args, id)
	}
	for range length - len(ids) {
		args = append(args, ids[len(ids)-1])
	}
	return args
}
