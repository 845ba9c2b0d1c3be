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

// A span is a place in a slice of jobs whose ids follow each other, one by one.
type span struct{ from, to int }

// minSpan is from how many jobs on a statement for a range of ids pays.
const minSpan = 4

// spans cuts n jobs into those whose ids and tokens both go up by one, which
// are held by one claim. It returns the ones that are long enough for a
// statement of their own, and the places of all other jobs.
func spans(n int, follows func(i int) bool) (long []span, rest []int) {
	for from := 0; from < n; {
		to := from + 1
		for to < n && follows(to) {
			to++
		}
		if to-from >= minSpan {
			long = append(long, span{from, to})
		} else {
			for i := from; i < to; i++ {
				rest = append(rest, i)
			}
		}
		from = to
	}
	return long, rest
}
