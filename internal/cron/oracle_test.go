package cron_test

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/plainjobs/plainjobs/internal/cron"
)

// An oracle implements the rules literally and slowly, and shares no code with the
// package. It tries every number in every field, and reads the clock at every instant.
type oracle struct {
	fields            [6][60]bool
	bothDays, elapsed bool
	special           [6][]string // items of days that depend on the month
}

func newOracle(spec string) *oracle {
	if meant, ok := macros[strings.ToLower(spec)]; ok {
		spec = meant
	}
	spec = strings.ToUpper(spec)
	for short, full := range fullNames {
		spec = strings.ReplaceAll(spec, full, short)
	}
	given := strings.Fields(strings.ReplaceAll(spec, "?", "*"))
	if len(given) == 5 {
		given = append([]string{"0"}, given...)
	}
	o := &oracle{
		bothDays: given[3][0] == '*' || given[5][0] == '*',
		elapsed:  given[2][0] == '*',
	}
	for i := range o.fields {
		for item := range strings.SplitSeq(given[i], ",") {
			if i == 3 && strings.ContainsAny(item, "LW") || i == 5 && (strings.Contains(item, "#") || strings.HasSuffix(item, "L")) {
				o.special[i] = append(o.special[i], item)
				continue
			}
			for n := range o.fields[i] {
				o.fields[i][n] = o.fields[i][n] || itemNames(i, item, n) || i == 5 && n == 0 && itemNames(i, item, 7)
			}
		}
	}
	return o
}

var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

func itemNames(field int, item string, n int) bool {
	least := [...]int{0, 0, 0, 1, 1, 0}[field]
	low, high := least, [...]int{59, 59, 23, 31, 12, 6}[field]
	number := func(text string) int {
		if at := strings.Index([...]string{4: "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", 5: "SUNMONTUEWEDTHUFRISAT"}[field], text); at >= 0 {
			return least + at/3
		}
		n, _ := strconv.Atoi(text)
		return n
	}
	base, step, stepped := strings.Cut(item, "/")
	first, last, ranged := strings.Cut(base, "-")
	if base != "*" {
		low = number(first)
		if field == 5 && low == 7 && last != "7" {
			low = 0
		}
		if ranged {
			high = number(last)
		} else if !stepped {
			high = low
		}
		if field == 5 && ranged && high == 0 && low > 0 {
			high = 7
		}
	}
	if !stepped {
		step = "1"
	}
	return n >= low && n <= high && (n-low)%number(step) == 0
}

// A reading is a local time: the six fields of an expression, in their order, and the year.
type reading [7]uint16

func read(wall int64) reading {
	t := time.Unix(wall, 0).UTC()
	return reading{
		uint16(t.Second()), uint16(t.Minute()), uint16(t.Hour()), uint16(t.Day()), uint16(t.Month()), uint16(t.Weekday()), uint16(t.Year()),
	}
}

var fullNames = map[string]string{
	"JAN": "JANUARY", "FEB": "FEBRUARY", "MAR": "MARCH", "APR": "APRIL", "JUN": "JUNE", "JUL": "JULY", "AUG": "AUGUST", "SEP": "SEPTEMBER",
	"OCT": "OCTOBER", "NOV": "NOVEMBER", "DEC": "DECEMBER", "SUN": "SUNDAY", "MON": "MONDAY", "TUE": "TUESDAY", "WED": "WEDNESDAY",
	"THU": "THURSDAY", "FRI": "FRIDAY", "SAT": "SATURDAY",
}

// falls reports whether an item that depends on the month matches a date.
func falls(item string, date time.Time) bool {
	isLast := func(d time.Time) bool { return d.AddDate(0, 0, 1).Day() == 1 }
	works := func(d time.Time) bool { return d.Weekday() != time.Saturday && d.Weekday() != time.Sunday }
	named := func(text string) bool {
		return itemNames(5, text, int(date.Weekday())) || date.Weekday() == 0 && itemNames(5, text, 7)
	}
	number := func(text string) int { n, _ := strconv.Atoi(text); return n }
	switch {
	case item == "L":
		return isLast(date)
	case item == "LW" || item == "WL": // no later day is a workday
		for d := date.AddDate(0, 0, 1); d.Month() == date.Month(); d = d.AddDate(0, 0, 1) {
			if works(d) {
				return false
			}
		}
		return works(date)
	case strings.HasPrefix(item, "L-"):
		d := date.AddDate(0, 0, number(item[2:]))
		return d.Month() == date.Month() && isLast(d)
	case strings.HasSuffix(item, "W"): // no workday of the month is nearer
		n := number(item[:len(item)-1])
		if time.Date(date.Year(), date.Month(), n, 0, 0, 0, 0, time.UTC).Month() != date.Month() {
			return false
		}
		best := time.Time{}
		for d := date.AddDate(0, 0, 1-date.Day()); d.Month() == date.Month(); d = d.AddDate(0, 0, 1) {
			if works(d) && (best.IsZero() || max(d.Day()-n, n-d.Day()) < max(best.Day()-n, n-best.Day())) {
				best = d
			}
		}
		return best.Day() == date.Day()
	case strings.HasSuffix(item, "L"):
		return named(item[:len(item)-1]) && date.AddDate(0, 0, 7).Month() != date.Month()
	}
	name, which, _ := strings.Cut(item, "#")
	return named(name) && date.AddDate(0, 0, -7*(number(which)-1)).Month() == date.Month() &&
		date.AddDate(0, 0, -7*number(which)).Month() != date.Month()
}

// names reports whether the expression matches a reading.
func (o *oracle) names(r reading) bool {
	if !o.fields[0][r[0]] || !o.fields[1][r[1]] || !o.fields[2][r[2]] || !o.fields[4][r[4]] {
		return false
	}
	inMonth, inWeek := o.fields[3][r[3]], o.fields[5][r[5]]
	if len(o.special[3])+len(o.special[5]) > 0 {
		date := time.Date(int(r[6]), time.Month(r[4]), int(r[3]), 0, 0, 0, 0, time.UTC)
		fits := func(item string) bool { return falls(item, date) }
		inMonth = inMonth || slices.ContainsFunc(o.special[3], fits)
		inWeek = inWeek || slices.ContainsFunc(o.special[5], fits)
	}
	if o.bothDays {
		return inMonth && inWeek
	}
	return inMonth || inWeek
}

// A transition is an instant at which the offset of a zone changes.
type transition struct {
	at, before, after int64
}

func transitions(loc *time.Location, from, to time.Time) (found []transition) {
	const step = 6 * 3600
	offset := func(t int64) int64 {
		_, seconds := time.Unix(t, 0).In(loc).Zone()
		return int64(seconds)
	}
	for t := from.Unix(); t < to.Unix(); t += step {
		low, high := t, t+step
		before, after := offset(low), offset(high)
		if before == after {
			continue
		}
		for low+1 < high {
			if middle := (low + high) / 2; offset(middle) == before {
				low = middle
			} else {
				high = middle
			}
		}
		found = append(found, transition{high, before, after})
	}
	return found
}

// check compares Preview and Next with the oracle in the hours around a transition. It
// reads the clock every step seconds.
func (x transition) check(t *testing.T, loc *time.Location, step int64, margin time.Duration, specs []*cron.Expression, oracles []*oracle) {
	t.Helper()
	turned := max(x.after-x.before, x.before-x.after)
	// They are compared inside. The clock is also read outside, to know which times it
	// showed before and will show again.
	inside := int64(margin/time.Second) + turned
	inside -= inside % step
	outside := inside + turned + step
	start := x.at - outside
	var walls []int64
	for at := start; at <= x.at+outside; at += step {
		_, seconds := time.Unix(at, 0).In(loc).Zone()
		walls = append(walls, at+int64(seconds))
	}
	// All local times that occur, with the first and the last instant of each.
	least, count := slices.Min(walls), (slices.Max(walls)-slices.Min(walls))/step+1
	readings, firstAt, lastAt := make([]reading, count), make([]int64, count), make([]int64, count)
	for i := range readings {
		readings[i] = read(least + int64(i)*step)
		firstAt[i] = never
	}
	for n, wall := range walls {
		i, at := (wall-least)/step, start+int64(n)*step
		firstAt[i] = min(firstAt[i], at)
		lastAt[i] = at
	}
	// The first instant with a later local time.
	greatest := slices.Clone(walls)
	for n := range greatest[1:] {
		greatest[n+1] = max(greatest[n], greatest[n+1])
	}
	passedAt := func(wall int64) int64 {
		n, _ := slices.BinarySearch(greatest, wall+1)
		return start + step*int64(n)
	}
	begin, end := x.at-inside, x.at+inside // compared is begin < at <= end
	for i, e := range specs {
		o := oracles[i]
		var want []int64
		if o.elapsed {
			for n, wall := range walls {
				if o.names(readings[(wall-least)/step]) {
					want = append(want, start+int64(n)*step)
				}
			}
		} else {
			for i, r := range readings {
				switch {
				case !o.names(r):
				case firstAt[i] != never:
					want = append(want, firstAt[i])
				default:
					want = append(want, passedAt(least+int64(i)*step))
				}
			}
		}
		want = slices.DeleteFunc(want, func(at int64) bool { return at <= begin || at > end })
		slices.Sort(want)
		want = slices.Compact(want)

		ticks := e.Preview(time.Unix(begin, 0), loc, len(want)+1)
		if len(ticks) < len(want) || len(ticks) > len(want) && ticks[len(want)].At.Unix() <= end {
			t.Fatalf("%q in %v around %v fires %v, want %d ticks", e, loc, time.Unix(x.at, 0).UTC(), ticks, len(want))
		}
		after := begin
		for n, at := range want {
			shown := (walls[(at-start)/step] - least) / step
			skipped := !o.names(readings[shown])
			doubled := !skipped && !o.elapsed && lastAt[shown] > at
			if got, want := ticks[n], (cron.Tick{At: time.Unix(at, 0).In(loc), Skipped: skipped, Doubled: doubled}); got != want {
				t.Fatalf("%q in %v around %v: tick %d is %v, want %v", e, loc, time.Unix(x.at, 0).UTC(), n, got, want)
			}
			// Next finds it from every earlier instant, also from the nanosecond before it.
			for _, from := range []time.Time{time.Unix(after+(at-after)/2, 0), time.Unix(at, -1)} {
				if next, ok := e.Next(from, loc); !ok || next.Unix() != at {
					t.Fatalf("%q in %v: Next(%v) = %v, %v, want %v", e, loc, from.UTC(), next, ok, time.Unix(at, 0).UTC())
				}
			}
			after = at
		}
	}
}

const never = math.MaxInt64
