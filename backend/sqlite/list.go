package sqlite

import (
	"slices"
	"strings"
)

// A list is a statement with a list of values, prepared for a few lengths only. A
// shorter list repeats its last value, which does not change what an IN list matches.
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

// fit returns the statement for n values and the length of its list.
func (l *list) fit(n int) (text string, length int) {
	for i, length := range listLengths {
		if n <= length {
			return l.texts[i], length
		}
	}
	panic("sqlite: list is too long")
}

// appendIDs appends ids to args, and repeats the last one up to length.
func appendIDs(args []any, ids []int64, length int) []any {
	for _, id := range ids {
		args = append(args, id)
	}
	for range length - len(ids) {
		args = append(args, ids[len(ids)-1])
	}
	return args
}

// A span is a part of a slice of jobs whose IDs are consecutive.
type span struct{ from, to int }

// minSpan is the smallest number of jobs for which a statement for a range is cheaper.
const minSpan = 4

// spans returns the spans of n jobs that have at least minSpan jobs, and the indexes
// of all other jobs. Follows reports whether job i continues the span of job i-1.
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

// A rowList is an INSERT of rows of parameters, of which few lengths are prepared.
type rowList struct {
	columns int
	texts   [len(rowLengths)]string
}

var rowLengths = [...]int{64, 16, 4, 2, 1}

// newRows returns the statement before + (?, …), (?, …), … + after.
func newRows(before string, columns int, after string) *rowList {
	r := &rowList{columns: columns}
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	for i, n := range rowLengths {
		r.texts[i] = before + strings.TrimSuffix(strings.Repeat(row+",", n), ",") + after
	}
	return r
}

// exec inserts n rows, of which add appends the values of one.
func (r *rowList) exec(t *tx, n int, add func(args []any, i int) []any) error {
	var args []any
	for at := 0; at < n; {
		size := slices.IndexFunc(rowLengths[:], func(length int) bool { return length <= n-at })
		args = args[:0]
		for range rowLengths[size] {
			args = add(args, at)
			at++
		}
		if _, err := t.exec(r.texts[size], args...); err != nil {
			return err
		}
	}
	return nil
}
