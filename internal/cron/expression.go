// Package cron parses cron expressions and computes when they fire in a time zone.
//
// An expression is matched against local time as if it were UTC, which has no daylight
// saving time. Only zone.go knows time zones.
//
// The package has its own parser because each tested library accepts wrong input:
// robfig/cron v3.0.1 and netresearch/go-cron v0.9.1 accept "," as a field that never
// matches and "*-5" as a star (the first rejects 7 for Sunday and panics on "TZ=UTC", the
// second rejects "*/60" and accepts "99-0/5"); adhocore/gronx v1.20.4 accepts "0-5-9" and
// "SUNMON" and has no field sets; all three accept "0 0 30 2 *".
package cron

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An Expression is a parsed cron expression. It is immutable and safe for concurrent use.
type Expression struct {
	text string

	second, minute, hour, day, month, weekday set

	dates

	// eitherDay reports whether both day fields are restricted. A day must then match
	// only one of them.
	eitherDay bool

	// elapsed reports whether the hour starts with a star. See Next.
	elapsed bool
}

// String returns the expression as given, with single spaces.
func (e *Expression) String() string { return e.text }

// Elapsed reports whether the hour starts with a star. In a clock change e then follows
// elapsed time, see [Expression.Next].
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

// Parse parses an expression of five fields, minute, hour, day of month, month
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
// If both day fields are restricted, a day is due that matches either of them. If one of
// them starts with a star, a day must match both. So "0 0 13 * 5" is each
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
			return errors.New("unknown name; use @yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly")
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
		return fmt.Errorf("it has %d fields; %s", len(given), form)
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

// year returns an error if the last field is a year, which some other programs accept:
// seven fields with the second, or six without it.
func year(given []string) error {
	n := len(given)
	if n != 6 && n != 7 {
		return nil
	}
	number, isNumber := digits(given[n-1][:min(4, len(given[n-1]))])
	named := isNumber && number >= 1000
	if n == 6 && !named && given[2] != "?" && given[4] != "?" { // the hour and the month cannot be a star
		return nil
	}
	rest := strings.Join(given[:n-1], " ")
	if named {
		return fmt.Errorf("its last field, %q, is a year, which an expression does not have; write %q for every year, or perform a task with At for one date",
			given[n-1], rest)
	}
	return fmt.Errorf("its last field, %q, is a year, which an expression does not have; write %q", given[n-1], rest)
}

// possible reports whether any date is due. Within searchYears each date falls on each
// day of the week, also the 29th of February.
func (e *Expression) possible() bool {
	_, ok := e.match(wall(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()))
	return ok
}
