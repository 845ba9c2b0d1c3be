package cron

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// A set is a set of numbers from 0 to 63.
type set uint64

func (s set) has(n int) bool { return s>>n&1 != 0 }

// from returns the least number of s that is not less than n.
func (s set) from(n int) (int, bool) {
	if s >>= n; s == 0 {
		return 0, false
	}
	return n + bits.TrailingZeros64(uint64(s)), true
}

// A field is what may stand in one place of an expression.
type field struct {
	name     string
	min, max int
	names    string // of min and what follows it, three letters each
}

var fields = [...]field{
	{name: "second", max: 59},
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"},
	{name: "day of week", max: 6, names: "SUNMONTUEWEDTHUFRISAT"},
}

// isWeek reports whether f is the day of the week, which has a second number
// for its first day.
func (f *field) isWeek() bool { return f.max == 6 }

func (f *field) parse(list string) (set, error) {
	var all set
	for item := range strings.SplitSeq(list, ",") {
		s, err := f.item(item)
		if err != nil {
			return 0, err
		}
		all |= s
	}
	return all, nil
}

// item parses a number, a range or a star, each perhaps with a step.
func (f *field) item(item string) (set, error) {
	base, step, stepped := strings.Cut(item, "/")
	from, to, every := f.min, f.max, 1
	var err error
	switch {
	case base == "*":
	case strings.Contains(base, "-"):
		from, to, err = f.span(base)
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

// span parses a range. Of two days of the week the second may be a Sunday.
func (f *field) span(text string) (from, to int, err error) {
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
		return 0, 0, fmt.Errorf("range %q ends before it starts; list its two parts, as in %s-%d,%d-%s", text, low, f.max, f.min, high)
	}
	return from, to, nil
}

// step parses a step. One that is longer than the field is refused, because it
// would start over with each hour or day: "*/90" would run once an hour.
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
	for i := 0; i < len(f.names); i += 3 {
		if strings.EqualFold(text, f.names[i:i+3]) {
			return f.min + i/3, nil
		}
	}
	switch {
	case text == "":
		return 0, errors.New("a number is missing")
	case text == "*":
		return 0, errors.New(`"*" is a whole range and cannot begin or end one`)
	case f.names != "":
		return 0, fmt.Errorf("%q is neither a number from %d to %d nor a name from %s to %s", text, f.min, limit, f.names[:3], f.names[len(f.names)-3:])
	}
	return 0, fmt.Errorf("%q is not a number from %d to %d", text, f.min, limit)
}

// digits parses decimal digits without a sign, and bounds what is too long to
// matter.
func digits(text string) (n int, ok bool) {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), 1000)
	}
	return n, text != ""
}
