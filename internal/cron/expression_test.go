package cron_test

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/internal/cron"
)

// Each expression fires like a simpler one.
func TestParse(t *testing.T) {
	for spec, means := range map[string]string{
		"@yearly":   "0 0 1 1 *",
		"@annually": "0 0 1 1 *",
		"@monthly":  "0 0 1 * *",
		"@weekly":   "0 0 * * 0",
		"@daily":    "0 0 * * *",
		"@midnight": "0 0 * * *",
		"@hourly":   "0 * * * *",
		"@Daily":    "0 0 * * *",

		"5 4 * * *":         "0 5 4 * * *",
		" \t5  4\n* * * ":   "5 4 * * *",
		"05 004 * * *":      "5 4 * * *",
		"1-4 2 * * *":       "1,2,3,4 2 * * *",
		"7-7 2 * * *":       "7 2 * * *",
		"1-9/3 2 * * *":     "1,4,7 2 * * *",
		"50/3 2 * * *":      "50,53,56,59 2 * * *",
		"0/20 2 * * *":      "0,20,40 2 * * *",
		"*/20 * * * *":      "0,20,40 * * * *",
		"*/60 * * * *":      "0 * * * *",
		"0 */24 * * *":      "0 0 * * *",
		"*/1 * * * *":       "* * * * *",
		"3,1-2,2,1 2 * * *": "1-3 2 * * *",
		"*/40 30 4 * * *":   "0,40 30 4 * * *",

		"0 0 1 jan,MAY,Dec *": "0 0 1 1,5,12 *",
		"0 0 1 MAR-jun *":     "0 0 1 3-6 *",
		"0 0 1 OCT/2 *":       "0 0 1 10,12 *",
		"0 0 1 */5 *":         "0 0 1 1,6,11 *",
		"0 0 */10 * *":        "0 0 1,11,21,31 * *",

		"0 0 * * SUN":     "0 0 * * 0",
		"0 0 * * 7":       "0 0 * * 0",
		"0 0 * * 0,7":     "0 0 * * 0",
		"0 0 * * 0-7":     "0 0 * * 0-6",
		"0 0 * * 5-7":     "0 0 * * 5,6,0",
		"0 0 * * fri-Sun": "0 0 * * 5,6,0",
		"0 0 * * SUN-TUE": "0 0 * * 0,1,2",
		"0 0 * * 7-2":     "0 0 * * 0,1,2",
		"0 0 * * 7-7":     "0 0 * * 0",
		"0 0 * * SUN-SUN": "0 0 * * 0",
		"0 0 * * 1-7/2":   "0 0 * * 0,1,3,5",
		"0 0 * * 7/3":     "0 0 * * 0,3,6",
		"0 0 * * */3":     "0 0 * * 0,3,6",
		"0 0 * * */7":     "0 0 * * 0",

		"0 0 ? * *":                    "0 0 * * *",
		"0 0 13 6 ?":                   "0 0 13 6 *",
		"0 0 12 ? * MON":               "0 0 12 * * MON",
		"0 0 1 January,may,DECEMBER *": "0 0 1 1,5,12 *",
		"0 0 1 february-april *":       "0 0 1 2-4 *",
		"0 0 * * Sunday,TUESDAY":       "0 0 * * 0,2",
		"0 0 * * monday-Friday":        "0 0 * * 1-5",
		"0 0 * * fridayL":              "0 0 * * 5l",
		"0 0 * * 7L":                   "0 0 * * SUNL",
		"0 0 * * 7#2":                  "0 0 * * sunday#2",
		"0 0 lw * *":                   "0 0 WL * *",
	} {
		e, simpler := parse(t, spec), parse(t, means)
		for _, start := range []string{"2023-12-31T23:59:59Z", "2024-02-28T13:14:15Z", "2025-07-31T04:01:00Z"} {
			after := instant(t, start)
			if got, want := e.Preview(after, time.UTC, 30), simpler.Preview(after, time.UTC, 30); !slices.Equal(got, want) {
				t.Errorf("%q fires %v\nlike %q it should %v", spec, got, means, want)
			}
		}
	}
}

func TestParseDayFields(t *testing.T) {
	for _, c := range []struct{ rule, spec, days string }{
		{"both restricted: either", "0 0 13 6 5", "6 13 20 27"},
		{"both restricted, the other way", "0 0 1,15 6 MON", "1 2 9 15 16 23 30"},
		{"a whole range is a restriction", "0 0 1-31 6 0", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30"},
		{"star: both", "0 0 * 6 5", "6 13 20 27"},
		{"star: both, the other way", "0 0 13 6 *", "13"},
		{"a step over a star: both", "0 0 */2 6 1", "9 23"},
		{"a step over a star: both, the other way", "0 0 1-7 6 */6", "1 7"},
		{"a list that starts with a star: both", "0 0 *,13 6 5", "6 13 20 27"},
		{"a list that ends with a star: either", "0 0 1 6 5,*", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30"},
	} {
		var days []string
		for _, tick := range parse(t, c.spec).Preview(instant(t, "2025-05-31T23:00:00Z"), time.UTC, 40) {
			if tick.At.Before(instant(t, "2025-07-01T00:00:00Z")) {
				days = append(days, tick.At.Format("2"))
			}
		}
		if got := strings.Join(days, " "); got != c.days {
			t.Errorf("%s: %q fires in June 2025 on %s, want %s", c.rule, c.spec, got, c.days)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for spec, want := range map[string]string{
		"":                `it has 0 fields; it takes five, minute, hour, day of month, month and day of week, or six with the second first`,
		" \n":             `it has 0 fields;`,
		"* * * *":         `it has 4 fields;`,
		"* * * * * * * *": `it has 8 fields;`,

		"0 0 12 * * ? *":         `its last field, "*", is a year, which an expression does not have; write "0 0 12 * * ?"`,
		"0 0 12 1 1 ? 2027":      `its last field, "2027", is a year, which an expression does not have; write "0 0 12 1 1 ?" for every year, or perform a task with At for one date`,
		"15 10 ? * 6L 2026-2030": `its last field, "2026-2030", is a year, which an expression does not have; write "15 10 ? * 6L" for every year`,
		"0 8 1 * ? *":            `its last field, "*", is a year, which an expression does not have; write "0 8 1 * ?"`,
		"0 18 ? * MON-FRI *":     `its last field, "*", is a year, which an expression does not have; write "0 18 ? * MON-FRI"`,

		"60 * * * *":                   `minute "60": "60" is not within 0 and 59`,
		"60 * * * * *":                 `second "60": "60" is not within 0 and 59`,
		"0 1,24 * * *":                 `hour "1,24": "24" is not within 0 and 23`,
		"0 0 0 * *":                    `day of month "0": "0" is not within 1 and 31`,
		"0 0 32 * *":                   `day of month "32": "32" is not within 1 and 31`,
		"0 0 1 0/3 *":                  `month "0/3": "0" is not within 1 and 12`,
		"0 0 1 13 *":                   `month "13": "13" is not within 1 and 12`,
		"0 0 * * 8":                    `day of week "8": "8" is not within 0 and 7`,
		"0 0 * * 1-8":                  `day of week "1-8": "8" is not within 0 and 7`,
		"4294967296 * * * *":           `"4294967296" is not within 0 and 59`,
		"18446744073709551616 * * * *": `"18446744073709551616" is not within 0 and 59`,

		"x * * * *":                      `minute "x": "x" is not a number from 0 to 59`,
		"+5 * * * *":                     `minute "+5": "+5" is not a number from 0 to 59`,
		"1.5 * * * *":                    `minute "1.5": "1.5" is not a number from 0 to 59`,
		"٣ * * * *":                      `minute "٣": "٣" is not a number from 0 to 59`,
		"? * * * *":                      `minute "?": "?" is a whole field of days; write * here`,
		"0 0 * ? *":                      `month "?": "?" is a whole field of days; write * here`,
		"0 0 ?,5 * *":                    `day of month "?,5": "?" is a whole field of days; write * here`,
		"0 0 ?/2 * *":                    `day of month "?/2": "?" is a whole field of days; write * here`,
		"0 H * * *":                      `hour "H": "H": H is a number that another program would choose; write one, from 0 to 23`,
		"H/15 * * * *":                   `minute "H/15": "H": H is a number that another program would choose; write one, from 0 to 59`,
		"0 H(0-7) * * *":                 `hour "H(0-7)": "H(0": H is a number`,
		"0 0 * * H":                      `day of week "H": "H": H is a number that another program would choose; write one, from 0 to 7`,
		"0 0 0W * *":                     `day of month "0W": "0W" is not 1W to 31W, the workday nearest to a day, or LW, the last one; list them, as in 1W,15W`,
		"0 0 1-5W * *":                   `day of month "1-5W": "1-5W" is not 1W to 31W`,
		"0 0 W * *":                      `day of month "W": "W" is not 1W to 31W`,
		"0 0 L-0 * *":                    `day of month "L-0": "L-0" is not L-1 to L-30, days before the last one`,
		"0 0 L-31 * *":                   `day of month "L-31": "L-31" is not L-1 to L-30`,
		"0 0 L/2 * *":                    `day of month "L/2": "L" is not a number from 1 to 31`,
		"0 L * * *":                      `hour "L": "L" is not a number from 0 to 23`,
		"0 0 1 L *":                      `month "L": "L" is neither a number`,
		"0 0 * * L":                      `day of week "L": "L" is the last day of a month; for a day of the week write e.g. SAT, or SATL for the last Saturday of a month`,
		"0 0 * * 8L":                     `day of week "8L": "8" is not within 0 and 7`,
		"0 0 * * FRI#6":                  `day of week "FRI#6": "FRI#6": a month has a day of the week 5 times at most; write FRI#1 to FRI#5, or FRIL for the last`,
		"0 0 * * FRI#":                   `day of week "FRI#": "FRI#": a month has a day of the week 5 times at most`,
		"0 0 * * #2":                     `day of week "#2": a number is missing`,
		"0 0 * * 1-5#2":                  `day of week "1-5#2": "1-5" is neither a number`,
		"0 0 * * 15W":                    `day of week "15W": "15W" is neither a number`,
		"0 0 31W 2 *":                    `it never fires: month "2" has no day of month "31W"`,
		"0 0 L-29 2 *":                   `it never fires: month "2" has no day of month "L-29"`,
		"0 0 1 JANU *":                   `month "JANU": "JANU" is neither a number`,
		"0 0 1 JANUARYS *":               `month "JANUARYS": "JANUARYS" is neither a number`,
		"0 0 1 MON *":                    `month "MON": "MON" is neither a number from 1 to 12 nor a name from JAN to DEC`,
		"0 0 * * JAN":                    `day of week "JAN": "JAN" is neither a number from 0 to 7 nor a name from SUN to SAT`,
		"0 0 * * SUNMON":                 `day of week "SUNMON": "SUNMON" is neither a number`,
		"0 JAN * * *":                    `hour "JAN": "JAN" is not a number from 0 to 23`,
		", * * * *":                      `minute ",": a number is missing`,
		"1,,2 * * * *":                   `minute "1,,2": a number is missing`,
		"1, * * * *":                     `minute "1,": a number is missing`,
		"-5 * * * *":                     `minute "-5": a number is missing`,
		"5- * * * *":                     `minute "5-": a number is missing`,
		"/5 * * * *":                     `minute "/5": a number is missing`,
		"1-2-3 * * * *":                  `minute "1-2-3": "2-3" is not a number from 0 to 59`,
		"*-5 * * * *":                    `minute "*-5": "*" is a whole range and cannot begin or end one`,
		"5-* * * * *":                    `minute "5-*": "*" is a whole range and cannot begin or end one`,
		"** * * * *":                     `minute "**": "**" is not a number from 0 to 59`,
		"0 22-2 * * *":                   `hour "22-2": range "22-2" ends before it starts; list its two parts, as in 22-23,0-2`,
		"0 22-2/2 * * *":                 `as in 22,0-2/2` + "\x00",
		"0 23-5/2 * * *":                 `as in 23,1-5/2` + "\x00",
		"0 22-1/3 * * *":                 `as in 22,1` + "\x00",
		"0 20-0/3 * * *":                 `as in 20-23/3` + "\x00",
		"0 22-2/1 * * *":                 `as in 22-23,0-2` + "\x00",
		"0 0 1 11-2/2 *":                 `as in 11,1` + "\x00",
		"0 0 1 NOV-MAR/2 *":              `as in NOV,1-MAR/2` + "\x00",
		"50-10/7 * * * *":                `as in 50-59/7,4` + "\x00",
		"0 0 28-3 * *":                   `day of month "28-3": range "28-3" ends before it starts; list its two parts, as in 28-31,1-3`,
		"0 0 * * SAT-MON":                `day of week "SAT-MON": range "SAT-MON" ends before it starts; list its two parts, as in SAT-6,0-MON`,
		"*/0 * * * *":                    `minute "*/0": step "0" is not a number from 1`,
		"*/ * * * *":                     `minute "*/": step "" is not a number from 1`,
		"*/-1 * * * *":                   `minute "*/-1": step "-1" is not a number from 1`,
		"*/5/2 * * * *":                  `minute "*/5/2": step "5/2" is not a number from 1`,
		"*/90 * * * *":                   `minute "*/90": step "90" is greater than the 60 values of the field; for an interval use Every`,
		"0 0 * * */8":                    `day of week "*/8": step "8" is greater than the 7 values of the field`,
		"*/99999999999999999999 * * * *": `step "99999999999999999999" is greater than the 60 values`,

		"0 0 30 2 *":          `it never fires: month "2" has no day of month "30"`,
		"0 0 31 APR,6,9,11 *": `it never fires: month "APR,6,9,11" has no day of month "31"`,
		"0 0 30,31 2 */2":     `it never fires: month "2" has no day of month "30,31"`,

		"TZ=UTC":                  `"TZ=UTC": a time zone is not part of an expression; use the option Zone`,
		"TZ=Asia/Tokyo 0 0 * * *": `"TZ=Asia/Tokyo": a time zone is not part of an expression; use the option Zone`,
		"CRON_TZ=Local 0 0 * * *": `"CRON_TZ=Local": a time zone is not part of an expression; use the option Zone`,
		"@every 5m":               `"@every": an interval is not an expression; use Every`,
		"@reboot":                 `"@reboot": a start is not a time; perform the job where the program starts`,
		"@":                       `unknown name; use @yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly`,
		"@fortnightly":            `unknown name; use @yearly`,
		"@daily 5":                `unknown name; use @yearly`,
		"@daily @daily * * *":     `unknown name; use @yearly`,
		"0 0 * * @daily":          `day of week "@daily": "@daily" is neither a number`,
	} {
		e, err := cron.Parse(spec)
		if err == nil {
			t.Errorf("Parse(%q) = %v, no error", spec, e)
			continue
		}
		if e != nil || !strings.Contains(err.Error()+"\x00", want) || !strings.HasPrefix(err.Error(), `cron expression "`) {
			t.Errorf("Parse(%q) = %v, %v\nwant %s", spec, e, err, want)
		}
	}
}

// The error for a range that ends before it starts contains the same range as a list.
func TestParseRangeHint(t *testing.T) {
	for from := 1; from < 24; from++ {
		for to := range from {
			for step := 1; step <= 24; step++ {
				_, err := cron.Parse(fmt.Sprintf("0 %d-%d/%d * * *", from, to, step))
				if err == nil {
					t.Fatalf("%d-%d is a range", from, to)
				}
				_, hint, _ := strings.Cut(err.Error(), "as in ")
				var got, want []int
				for _, tick := range parse(t, "0 "+hint+" * * *").Preview(instant(t, "2025-12-31T23:59:59Z"), time.UTC, 30) {
					if tick.At.Day() == 1 && tick.At.Month() == time.January {
						got = append(got, tick.At.Hour())
					}
				}
				for hour := from; hour <= to+24; hour += step {
					want = append(want, hour%24)
				}
				if slices.Sort(want); !slices.Equal(got, want) {
					t.Fatalf("%d-%d/%d is %v, and %s is %v", from, to, step, want, hint, got)
				}
			}
		}
	}
}

// Days that depend on the month.
func TestParseDates(t *testing.T) {
	for spec, want := range map[string]string{
		// In 2026 January begins on a Thursday, and February on a Sunday.
		"0 0 L 1-6 *":              "1-31 2-28 3-31 4-30 5-31 6-30",
		"0 0 L-1 1-3 *":            "1-30 2-27 3-30",
		"0 0 L-27,L-30 2-4 *":      "2-1 3-1 3-4 4-3",
		"0 0 1,L 2 *":              "2-1 2-28",
		"0 0 LW * *":               "1-30 2-27 3-31 4-30 5-29 6-30 7-31 8-31 9-30 10-30 11-30 12-31",
		"0 0 15W * *":              "1-15 2-16 3-16 4-15 5-15 6-15 7-15 8-14 9-15 10-15 11-16 12-15",
		"0 0 1W * *":               "1-1 2-2 3-2 4-1 5-1 6-1 7-1 8-3 9-1 10-1 11-2 12-1",
		"0 0 31W * *":              "1-30 3-31 5-29 7-31 8-31 10-30 12-31",
		"0 0 1W,LW 8 *":            "8-3 8-31",
		"0 0 * * FRIL":             "1-30 2-27 3-27 4-24 5-29 6-26 7-31 8-28 9-25 10-30 11-27 12-25",
		"0 0 * 2,5 0L":             "2-22 5-31",
		"0 0 * 1-3 5#2":            "1-9 2-13 3-13",
		"0 0 * * MON#5":            "3-30 6-29 8-31 11-30",
		"0 0 * 1 MON#1,WED#3,SATL": "1-5 1-21 1-31",
		"0 0 13 1-3 5#2":           "1-9 1-13 2-13 3-13",
		"0 0 ? 2 1-2":              "2-2 2-3 2-9 2-10 2-16 2-17 2-23 2-24",
		"0 0 */5 1 TUE#1":          "1-6",
		"0 0 L 2 SAT#1":            "2-7 2-28",
	} {
		var got []string
		for _, tick := range parse(t, spec).Preview(instant(t, "2025-12-31T23:00:00Z"), time.UTC, 60) {
			if tick.At.Year() == 2026 {
				got = append(got, tick.At.Format("1-2"))
			}
		}
		if days := strings.Join(got, " "); days != want {
			t.Errorf("%q fires in 2026 on %s, want %s", spec, days, want)
		}
	}
}

// The 29th of February falls on every day of the week. If either day field is enough,
// every month has a day.
func TestParsePossible(t *testing.T) {
	for _, spec := range []string{"0 0 29 2 *", "0 0 29 2 */7", "0 0 30 2 1", "0 0 31 4 0-6", "0 0 */30 2 1", "0 0 31 2,3 *", "0 0 29W 2 *", "0 0 L-28 2 *", "0 0 * 2 MON#5"} {
		if _, ok := parse(t, spec).Next(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), time.UTC); !ok {
			t.Errorf("%q never fires", spec)
		}
	}
}

func TestString(t *testing.T) {
	for spec, want := range map[string]string{
		" 0\t0  * *   MON-fri\n": "0 0 * * MON-fri",
		" @daily ":               "@daily",
		"05 4 * * 7":             "05 4 * * 7",
	} {
		if got := parse(t, spec).String(); got != want {
			t.Errorf("%q is %q, want %q", spec, got, want)
		}
	}
}

// testdata/utc.txt has expressions, instants, and the next instants on which robfig/cron
// v3.0.1, netresearch/go-cron v0.9.1 and adhocore/gronx v1.20.4 agree, in UTC.
func TestLibrariesAgree(t *testing.T) {
	file, err := os.Open("testdata/utc.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	count := 0
	for ; lines.Scan(); count++ {
		part := strings.Split(lines.Text(), " | ")
		at, ok := parse(t, part[0]).Next(instant(t, part[1]), time.UTC)
		if !ok || !at.Equal(instant(t, part[2])) {
			t.Errorf("%s: %v, %v", lines.Text(), at, ok)
		}
	}
	if err := lines.Err(); err != nil || count < 100 {
		t.Errorf("%d lines, %v", count, err)
	}
}
