package cron

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// A set is a set of numbers from 0 to 63.
type set uint64

func (s set) has(n int) bool { return s>>n&1 != 0 }

// from returns the smallest number of s that is at least n.
func (s set) from(n int) (int, bool) {
	if s >>= n; s == 0 {
		return 0, false
	}
	return n + bits.TrailingZeros64(uint64(s)), true
}

// A field describes one field of an expression.
type field struct {
	name     string
	min, max int
	names    []string // of min and what follows it
}

var fields = [...]field{
	{name: "second", max: 59},
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: []string{
		"JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER",
	}},
	{name: "day of week", max: 6, names: []string{
		"SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY",
	}},
}

// isWeek reports whether f is the day of the week, where 7 also means Sunday.
func (f *field) isWeek() bool { return f.max == 6 }

// isName reports whether text, in upper case, is a name, short or full.
func (f *field) isName(text string) bool {
	return slices.ContainsFunc(f.names, func(name string) bool { return text == name || text == name[:3] })
}

// parse parses a field. The set does not contain items that special accepts.
func (f *field) parse(list string, special func(f *field, item string) (bool, error)) (set, error) {
	var all set
	for item := range strings.SplitSeq(list, ",") {
		if special != nil {
			taken, err := special(f, item)
			if err != nil {
				return 0, err
			}
			if taken {
				continue
			}
		}
		s, err := f.item(item)
		if err != nil {
			return 0, err
		}
		all |= s
	}
	return all, nil
}

// item parses a number, a range or a star, with or without a step.
func (f *field) item(item string) (set, error) {
	base, step, stepped := strings.Cut(item, "/")
	from, to, every := f.min, f.max, 1
	var err error
	switch {
	case base == "*":
	case strings.Contains(base, "-"):
		from, to, err = f.span(base, step)
	default:
		if from, err = f.number(base); f.isWeek() && from == 7 {
			from = 0
		}
		if !stepped {
			to = from
		}
	}
	if err == nil && stepped {
		every, err = f.step(step)
	}
	if err != nil {
		return 0, err
	}
	var s set
	for n := from; n <= to; n += every {
		if f.isWeek() && n == 7 {
			s |= 1
		} else {
			s |= 1 << n
		}
	}
	return s, nil
}

// span parses a range. The second of two days of the week may be a Sunday.
func (f *field) span(text, step string) (from, to int, err error) {
	low, high, _ := strings.Cut(text, "-")
	if from, err = f.number(low); err != nil {
		return 0, 0, err
	}
	if to, err = f.number(high); err != nil {
		return 0, 0, err
	}
	if f.isWeek() && from == 7 && to != 7 {
		from = 0
	}
	if f.isWeek() && from > 0 && to == 0 {
		to = 7
	}
	if from > to {
		return 0, 0, fmt.Errorf("range %q ends before it starts; list its two parts, as in %s", text, f.parts(low, high, from, to, step))
	}
	return from, to, nil
}

// parts splits a range that ends before it starts into two. The second one continues the
// steps of the first.
func (f *field) parts(low, high string, from, to int, step string) string {
	every, ok := digits(step)
	if !ok || every == 0 {
		return fmt.Sprintf("%s-%d,%d-%s", low, f.max, f.min, high)
	}
	part := func(low string, from int, high string, to int) string {
		switch {
		case from+every > to:
			return low
		case every == 1:
			return low + "-" + high
		}
		return fmt.Sprintf("%s-%s/%d", low, high, every)
	}
	first := part(low, from, strconv.Itoa(f.max), f.max)
	for from <= f.max {
		from += every
	}
	if from -= f.max - f.min + 1; from > to {
		return first
	}
	return first + "," + part(strconv.Itoa(from), from, high, to)
}

// step parses a step. It rejects a step longer than the field, because steps restart each
// hour or day: "*/90" would run once an hour.
func (f *field) step(text string) (int, error) {
	n, ok := digits(text)
	if !ok || n == 0 {
		return 0, fmt.Errorf("step %q is not a number from 1", text)
	}
	if values := f.max - f.min + 1; n > values {
		return 0, fmt.Errorf("step %q is greater than the %d values of the field; for an interval use Every", text, values)
	}
	return n, nil
}

// number parses one number or name.
func (f *field) number(text string) (int, error) {
	limit := f.max
	if f.isWeek() {
		limit = 7
	}
	if n, ok := digits(text); ok {
		if n < f.min || n > limit {
			return 0, fmt.Errorf("%q is not within %d and %d", text, f.min, limit)
		}
		return n, nil
	}
	for i, name := range f.names {
		if strings.EqualFold(text, name) || strings.EqualFold(text, name[:3]) {
			return f.min + i, nil
		}
	}
	switch {
	case text == "":
		return 0, errors.New("a number is missing")
	case text == "*":
		return 0, errors.New(`"*" is a whole range and cannot begin or end one`)
	case strings.HasPrefix(text, "?"):
		return 0, errors.New(`"?" is a whole field of days; write * here`)
	case strings.EqualFold(text[:1], "h"):
		return 0, fmt.Errorf("%q: H is a number that another program would choose; write one, from %d to %d", text, f.min, limit)
	case f.names != nil:
		return 0, fmt.Errorf("%q is neither a number from %d to %d nor a name from %s to %s", text, f.min, limit,
			f.names[0][:3], f.names[len(f.names)-1][:3])
	}
	return 0, fmt.Errorf("%q is not a number from %d to %d", text, f.min, limit)
}

// digits parses decimal digits without a sign. It limits the value of long numbers.
func digits(text string) (n int, ok bool) {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), 1000)
	}
	return n, text != ""
}
