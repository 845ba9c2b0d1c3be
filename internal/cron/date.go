package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// dates are the days that depend on the month.
type dates struct {
	// last has 0 for the last day of the month, 1 for the day before it, etc.
	last set
	// workdays has days of the month; the workday nearest to each is due. lastWorkday
	// reports whether the month's last workday is due.
	workdays    set
	lastWorkday bool

	// lastWeek has days of the week that are due on their last occurrence in a month.
	// nth has the days due on the first occurrence, the second, etc.
	lastWeek set
	nth      [5]set
}

// A month is one month of one year.
type month struct {
	last  int // its last day
	first int // the day of the week of its first day
}

func monthOf(year int, m time.Month) month {
	return month{
		last:  time.Date(year, m+1, 0, 0, 0, 0, 0, time.UTC).Day(),
		first: int(time.Date(year, m, 1, 0, 0, 0, 0, time.UTC).Weekday()),
	}
}

func (m month) weekday(day int) int { return (m.first + day - 1) % 7 }

// workday returns the day from Monday to Friday that is nearest to day, within
// the month.
func (m month) workday(day int) int {
	switch m.weekday(day) {
	case 6:
		if day == 1 {
			return 3
		}
		return day - 1
	case 0:
		if day == m.last {
			return day - 2
		}
		return day + 1
	}
	return day
}

// ofMonth returns the days of d in a month.
func (d *dates) ofMonth(m month) (due set) {
	for n, ok := d.last.from(0); ok && n < m.last; n, ok = d.last.from(n + 1) {
		due |= 1 << (m.last - n)
	}
	for day, ok := d.workdays.from(1); ok && day <= m.last; day, ok = d.workdays.from(day + 1) {
		due |= 1 << m.workday(day)
	}
	if d.lastWorkday {
		due |= 1 << m.workday(m.last)
	}
	return due
}

// ofWeek reports whether d has a day because of its day of the week.
func (d *dates) ofWeek(m month, day int) bool {
	weekday := m.weekday(day)
	return d.nth[(day-1)/7].has(weekday) || day+7 > m.last && d.lastWeek.has(weekday)
}

// dayOfMonth parses a day of the month that is not a number or a range. It reports
// whether item is one.
func (d *dates) dayOfMonth(_ *field, item string) (bool, error) {
	switch text := strings.ToUpper(item); {
	case text == "L":
		d.last |= 1
	case text == "LW" || text == "WL":
		d.lastWorkday = true
	case strings.HasPrefix(text, "L-"):
		n, ok := digits(text[2:])
		if !ok || n < 1 || n > 30 {
			return true, fmt.Errorf("%q is not L-1 to L-30, days before the last one", item)
		}
		d.last |= 1 << n
	case strings.HasSuffix(text, "W"):
		n, ok := digits(strings.TrimSuffix(text, "W"))
		if !ok || n < 1 || n > 31 {
			return true, fmt.Errorf("%q is not 1W to 31W, the workday nearest to a day, or LW, the last one; list them, as in 1W,15W", item)
		}
		d.workdays |= 1 << n
	default:
		return false, nil
	}
	return true, nil
}

// dayOfWeek parses a day of the week that is not a number, name or range. It reports
// whether item is one.
func (d *dates) dayOfWeek(f *field, item string) (bool, error) {
	weekday := func(text string) (set, error) {
		n, err := f.number(text)
		return 1 << (n % 7), err
	}
	name, number, ok := strings.Cut(item, "#")
	if ok {
		n, isNumber := digits(number)
		if !isNumber || n < 1 || n > 5 {
			return true, fmt.Errorf("%q: a month has a day of the week 5 times at most; write FRI#1 to FRI#5, or FRIL for the last", item)
		}
		s, err := weekday(name)
		d.nth[n-1] |= s
		return true, err
	}
	text := strings.ToUpper(item)
	name = item[:max(len(item)-1, 0)]
	switch {
	case text == "L":
		return true, errors.New(`"L" is the last day of a month; for a day of the week write e.g. SAT, or SATL for the last Saturday of a month`)
	case strings.HasSuffix(text, "L") && !f.isName(text):
		s, err := weekday(name)
		d.lastWeek |= s
		return true, err
	}
	return false, nil
}
