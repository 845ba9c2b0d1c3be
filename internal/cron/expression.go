// Package cron reads cron expressions and says when they fire in a time zone.
//
// An expression is matched against the clock on the wall as if it hung in UTC,
// which knows no daylight saving; only zone.go knows zones.
//
// The parser is ours because each library that was measured gets inputs wrong
// without an error: robfig/cron v3.0.1 and netresearch/go-cron v0.9.1 take ","
// for a field that never matches and "*-5" for a star (the first refuses 7 for
// Sunday and panics on "TZ=UTC", the second refuses "*/60" and takes "99-0/5");
// adhocore/gronx v1.20.4 takes "0-5-9" and "SUNMON" and has no field sets; and
// all three take "0 0 30 2 *".
package cron

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An Expression is a parsed cron expression. It does not change and may be used
// by many goroutines.
type Expression struct {
	text string

	second, minute, hour, day, month, weekday set

	dates

	// eitherDay is set if both day fields are restricted: one that matches is
	// then enough.
	eitherDay bool

	// elapsed is set if the hour starts with a star. See Next.
	elapsed bool
}

// String returns the expression as it was given, with single spaces.
func (e *Expression) String() string { return e.text }

// Elapsed reports whether the hour starts with a star: e then follows elapsed
// time where the clock is turned, see [Expression.Next].
func (e *Expression) Elapsed() bool { return e.elapsed }

var macros = map[string]string{
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
	"@monthly":  "0 0 1 * *",
	"@weekly":   "0 0 * * 0",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@hourly":   "0 * * * *",
}

// Parse reads an expression of five fields, minute, hour, day of month, month
// and day of week, or six with the second before them, or one of @yearly,
// @annually, @monthly, @weekly, @daily, @midnight and @hourly.
//
// A field is a list, separated by commas, of numbers, ranges a-b and stars. A
// range or a star may have a step /n; a/n is a range from a to the end. Months
// and days of the week have names, JAN to DEC and SUN to SAT or in full, in any
// case. Sunday is 0, 7 or SUN, and the last day of the week where it ends a range.
//
// In a list of days of the month, L is the last one, L-3 three days before it, 15W
// the workday, from Monday to Friday, that is nearest to the 15th within the month,
// and LW the last workday. In one of days of the week, 5L or FRIL is the last
// Friday of the month, and 5#2 or FRI#2 the second one. A field of days may be ?,
// which is a star. The numbers of days are those of cron(8); programs that write ?
// often count from 1 for Sunday, so names are safer.
//
// Where both day fields are restricted, a day is due that matches either; where
// one of them starts with a star, a day must match both. So "0 0 13 * 5" is each
// 13th and each Friday, and "0 0 */2 * 1" the Mondays on odd days.
//
// An error names the field, its value and the rule that it breaks. An expression
// that can never fire is an error as well.
func Parse(spec string) (*Expression, error) {
	given := strings.Fields(spec)
	e := &Expression{text: strings.Join(given, " ")}
	if err := e.parse(given); err != nil {
		return nil, fmt.Errorf("cron expression %q: %w", e.text, err)
	}
	return e, nil
}

func (e *Expression) parse(given []string) error {
	const form = "it takes five, minute, hour, day of month, month and day of week, or six with the second first"
	first := ""
	if len(given) > 0 {
		first = strings.ToLower(given[0])
	}
	switch {
	case strings.HasPrefix(first, "tz="), strings.HasPrefix(first, "cron_tz="):
		return fmt.Errorf("%q: a time zone is not part of an expression; use the option Zone", given[0])
	case first == "@every":
		return fmt.Errorf("%q: an interval is not an expression; use Every", given[0])
	case first == "@reboot":
		return fmt.Errorf("%q: a start is not a time; perform the job where the program starts, or use Every for an interval", given[0])
	case strings.HasPrefix(first, "@"):
		macro, ok := macros[first]
		if !ok || len(given) > 1 {
			return errors.New("it is none of @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly")
		}
		given = strings.Fields(macro)
	}
	if err := year(given); err != nil {
		return err
	}
	switch len(given) {
	case 5:
		given = append([]string{"0"}, given...)
	case 6:
	default:
		return fmt.Errorf("the number of its fields is %d; %s", len(given), form)
	}
	given = slices.Clone(given)
	special := [6]func(*field, string) (bool, error){3: e.dayOfMonth, 5: e.dayOfWeek}
	for i, to := range []*set{&e.second, &e.minute, &e.hour, &e.day, &e.month, &e.weekday} {
		if given[i] == "?" && special[i] != nil {
			given[i] = "*"
		}
		var err error
		if *to, err = fields[i].parse(given[i], special[i]); err != nil {
			return fmt.Errorf("%s %q: %w", fields[i].name, given[i], err)
		}
	}
	starred := func(i int) bool { return given[i][0] == '*' }
	e.elapsed = starred(2)
	e.eitherDay = !starred(3) && !starred(5)
	if !e.possible() {
		return fmt.Errorf("it never fires: month %q has no day of month %q", given[4], given[3])
	}
	return nil
}

// year returns an error if the fields end with a year, as they do in other
// programs, seven with the second first or six without it.
func year(given []string) error {
	n := len(given)
	if n != 6 && n != 7 {
		return nil
	}
	number, isNumber := digits(given[n-1][:min(4, len(given[n-1]))])
	named := isNumber && number >= 1000
	if n == 6 && !named && given[2] != "?" && given[4] != "?" { // which the hour and the month cannot be
		return nil
	}
	rest := strings.Join(given[:n-1], " ")
	if named {
		return fmt.Errorf("its last field, %q, is a year, which an expression does not have; write %q for every year, or perform a task with At for one date",
			given[n-1], rest)
	}
	return fmt.Errorf("its last field, %q, is a year, which an expression does not have; write %q", given[n-1], rest)
}

// possible reports whether any date is due. Within searchYears each date falls on
// each day of the week, the 29th of February too.
func (e *Expression) possible() bool {
	_, ok := e.match(wall(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()))
	return ok
}
