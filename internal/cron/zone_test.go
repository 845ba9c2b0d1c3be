package cron_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/internal/cron"
)

func parse(t testing.TB, spec string) *cron.Expression {
	t.Helper()
	e, err := cron.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// zones have clock changes of half an hour, one hour, two hours and a day, at every hour
// of the day, for Ramadan, and backwards in summer.
var zones = []string{
	"Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "Africa/Khartoum", "Africa/Monrovia", "Africa/Windhoek",
	"America/Anchorage", "America/Asuncion", "America/Caracas", "America/Chicago", "America/Havana", "America/Los_Angeles", "America/New_York",
	"America/Nuuk", "America/Santiago", "America/Sao_Paulo", "America/St_Johns",
	"Antarctica/Casey", "Antarctica/Troll",
	"Asia/Amman", "Asia/Beirut", "Asia/Gaza", "Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Manila", "Asia/Pyongyang", "Asia/Tehran", "Asia/Tokyo",
	"Atlantic/Azores", "Australia/Lord_Howe", "Australia/Sydney",
	"Europe/Berlin", "Europe/Dublin", "Europe/London", "Europe/Moscow",
	"Pacific/Apia", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Kwajalein", "Pacific/Tongatapu", "UTC",
}

func expressions(t *testing.T, specs []string) (all []*cron.Expression, oracles []*oracle) {
	for _, spec := range specs {
		all = append(all, parse(t, spec))
		oracles = append(oracles, newOracle(spec))
	}
	return all, oracles
}

// Every transition of every zone, also the computed ones after the last on record.
func TestTransitions(t *testing.T) {
	specs, oracles := expressions(t, []string{
		"0 0 * * *", "30 0 * * *", "59 23 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *", "0 3 * * *", "15,45 1-3 * * *", "0,30 0-23 * * *",
		"0 0 1 * *", "0 12 30,31 12 *", "15 2 1-7 * 0", "0 0 */2 * 0",
		"@hourly", "*/15 * * * *", "*/7 */2 * * *", "*/20 2 * * *", "30 */3 * * 6,0", "* 0 * * *",
	})
	count := 0
	for _, name := range zones {
		loc := zone(t, name)
		for _, x := range transitions(loc, time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2045, 1, 1, 0, 0, 0, 0, time.UTC)) {
			step := int64(60)
			if x.at%60 != 0 || x.before%60 != 0 || x.after%60 != 0 {
				step = 1
			}
			x.check(t, loc, step, 2*time.Hour, specs, oracles)
			count++
		}
	}
	t.Logf("%d transitions of %d zones, %d expressions", count, len(zones), len(specs))
}

// Second by second, with local mean time, whose offsets have seconds, days that
// are skipped or repeated, and a few later ones.
func TestTransitionsBySecond(t *testing.T) {
	specs, oracles := expressions(t, []string{
		"0 0 * * *", "30 1 * * *", "0 0,30 0-23 * * *", "17,43 1,58 0-23 * * *", "* 59 0-23 * * *",
		"30 * * * *", "59 * * * * *", "*/25 */20 * * * *",
	})
	count := 0
	for name, years := range map[string][2]int{
		"Africa/Monrovia":     {1840, 1975},
		"America/Juneau":      {1840, 1910},
		"America/New_York":    {1880, 1920},
		"Asia/Manila":         {1840, 1910},
		"Australia/Lord_Howe": {2020, 2024},
		"Europe/Amsterdam":    {1934, 1941},
		"Europe/Paris":        {1840, 1920},
	} {
		loc := zone(t, name)
		for _, x := range transitions(loc, time.Date(years[0], 1, 1, 0, 0, 0, 0, time.UTC), time.Date(years[1], 1, 1, 0, 0, 0, 0, time.UTC)) {
			x.check(t, loc, 1, 30*time.Minute, specs, oracles)
			count++
		}
	}
	t.Logf("%d transitions, %d expressions", count, len(specs))
}

// Each rule of Next, by example.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		rule, zone, spec, after string
		want                    []string
	}{
		{"a time that does not exist fires at the transition", "America/New_York", "30 2 * * *", "2025-03-08T12:00:00-05:00",
			[]string{"2025-03-09T03:00:00-04:00", "2025-03-10T02:30:00-04:00"}},
		{"several that do not exist fire once", "Europe/Berlin", "0,20,40 2 * * *", "2025-03-29T12:00:00+01:00",
			[]string{"2025-03-30T03:00:00+02:00", "2025-03-31T02:00:00+02:00"}},
		{"they fire once with one that exists", "Europe/Berlin", "0 2,3 * * *", "2025-03-29T12:00:00+01:00",
			[]string{"2025-03-30T03:00:00+02:00", "2025-03-31T02:00:00+02:00"}},
		{"a time that occurs twice fires at the first", "America/New_York", "30 1 * * *", "2025-11-01T12:00:00-04:00",
			[]string{"2025-11-02T01:30:00-04:00", "2025-11-03T01:30:00-05:00"}},
		{"and not again from within the second pass", "America/New_York", "30 1 * * *", "2025-11-02T01:10:00-05:00",
			[]string{"2025-11-03T01:30:00-05:00"}},
		{"a star in the hour fires in both passes", "America/New_York", "30 * * * *", "2025-11-02T00:30:00-04:00",
			[]string{"2025-11-02T01:30:00-04:00", "2025-11-02T01:30:00-05:00", "2025-11-02T02:30:00-05:00"}},
		{"and not for a skipped hour", "America/New_York", "30 * * * *", "2025-03-09T00:30:00-05:00",
			[]string{"2025-03-09T01:30:00-05:00", "2025-03-09T03:30:00-04:00"}},
		{"a star in the minute is none in the hour", "America/New_York", "*/30 1 * * *", "2025-11-02T00:30:00-04:00",
			[]string{"2025-11-02T01:00:00-04:00", "2025-11-02T01:30:00-04:00", "2025-11-03T01:00:00-05:00"}},
		{"and runs late, once", "America/New_York", "*/30 2 * * *", "2025-03-08T12:00:00-05:00",
			[]string{"2025-03-09T03:00:00-04:00", "2025-03-10T02:00:00-04:00"}},
		{"a step over a star is a star", "America/New_York", "0 */1 * * *", "2025-11-02T00:30:00-04:00",
			[]string{"2025-11-02T01:00:00-04:00", "2025-11-02T01:00:00-05:00", "2025-11-02T02:00:00-05:00"}},
		{"a star in the second is not one in the minute", "America/New_York", "*/30 30 1 * * *", "2025-11-02T00:30:00-04:00",
			[]string{"2025-11-02T01:30:00-04:00", "2025-11-02T01:30:30-04:00", "2025-11-03T01:30:00-05:00"}},
		{"@hourly keeps its interval", "Europe/London", "@hourly", "2025-10-25T23:30:00Z",
			[]string{"2025-10-26T00:00:00Z", "2025-10-26T01:00:00Z", "2025-10-26T02:00:00Z"}},
		{"half an hour is skipped", "Australia/Lord_Howe", "15 2 * * *", "2025-10-04T12:00:00+10:30",
			[]string{"2025-10-05T02:30:00+11:00", "2025-10-06T02:15:00+11:00"}},
		{"half an hour is repeated", "Australia/Lord_Howe", "45 1 * * *", "2025-04-05T12:00:00+11:00",
			[]string{"2025-04-06T01:45:00+11:00", "2025-04-07T01:45:00+10:30"}},
		{"midnight does not exist", "Asia/Beirut", "@daily", "2025-03-29T12:00:00+02:00",
			[]string{"2025-03-30T01:00:00+03:00", "2025-03-31T00:00:00+03:00"}},
		{"midnight does not exist", "America/Havana", "@daily", "2025-03-08T12:00:00-05:00",
			[]string{"2025-03-09T01:00:00-04:00", "2025-03-10T00:00:00-04:00"}},
		{"the hour before midnight is repeated", "Africa/Cairo", "30 23 * * *", "2024-10-31T12:00:00+03:00",
			[]string{"2024-10-31T23:30:00+03:00", "2024-11-01T23:30:00+02:00"}},
		{"a day is skipped", "Pacific/Apia", "0 12 30 12 *", "2011-12-01T00:00:00-10:00",
			[]string{"2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"}},
		{"a day is skipped", "Pacific/Apia", "0 12 * * *", "2011-12-29T00:00:00-10:00",
			[]string{"2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}},
		{"a day is skipped", "Pacific/Kwajalein", "@daily", "1993-08-20T12:00:00-12:00",
			[]string{"1993-08-22T00:00:00+12:00", "1993-08-23T00:00:00+12:00"}},
		{"a day is repeated", "Pacific/Kwajalein", "0 6 * * *", "1969-09-30T00:00:00+11:00",
			[]string{"1969-09-30T06:00:00+11:00", "1969-10-01T06:00:00-12:00"}},
		{"the summer is the standard", "Europe/Dublin", "30 1 * * *", "2025-03-29T12:00:00Z",
			[]string{"2025-03-30T02:00:00+01:00", "2025-03-31T01:30:00+01:00"}},
		{"Ramadan", "Africa/Casablanca", "30 2 * * *", "2025-04-05T12:00:00Z",
			[]string{"2025-04-06T03:00:00+01:00", "2025-04-07T02:30:00+01:00"}},
		{"a zone begins in the middle of a minute", "Europe/Amsterdam", "0 0 * * *", "1937-06-30T12:00:00+00:19",
			[]string{"1937-07-01T00:00:28+01:20", "1937-07-02T00:00:00+01:20"}},
		{"a second is a fire time too", "UTC", "59 59 23 31 12 *", "2024-12-31T23:59:58Z",
			[]string{"2024-12-31T23:59:59Z", "2025-12-31T23:59:59Z"}},
		{"centuries are no leap years", "UTC", "0 0 29 2 *", "2096-02-29T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"years past the last on record", "Europe/Berlin", "30 2 * * *", "2480-03-30T12:00:00+01:00",
			[]string{"2480-03-31T03:00:00+02:00", "2480-04-01T02:30:00+02:00"}},
		{"the last day of a leap year", "America/New_York", "@daily", "2040-12-31T12:00:00-05:00", []string{"2041-01-01T00:00:00-05:00"}},
	} {
		t.Run(c.rule+"/"+c.zone, func(t *testing.T) {
			loc, e := zone(t, c.zone), parse(t, c.spec)
			after := instant(t, c.after)
			for _, text := range c.want {
				want := instant(t, text)
				got, ok := e.Next(after, loc)
				if !ok || !got.Equal(want) {
					t.Fatalf("%q after %v: %v, %v, want %v", e, after.In(loc), got.In(loc), ok, want.In(loc))
				}
				if got.Location() != time.UTC {
					t.Errorf("Next is in %v", got.Location())
				}
				after = got
			}
		})
	}
}

// A zone could set its clock back twice in an hour, although none has: each time still
// fires once.
func TestNextWhereClocksTurnTwice(t *testing.T) {
	// The format is RFC 9636's, version 1: two transitions of three types.
	first := time.Date(2025, 6, 1, 2, 0, 0, 0, time.UTC)
	data := append([]byte("TZif"), make([]byte, 16)...)
	for _, n := range []int{0, 0, 0, 2, 3, 2, int(first.Unix()), int(first.Unix()) + 1800} {
		data = binary.BigEndian.AppendUint32(data, uint32(n))
	}
	data = append(data, 1, 2)
	for _, offset := range []int32{0, -3600, -7200} {
		data = binary.BigEndian.AppendUint32(data, uint32(offset))
		data = append(data, 0, 0)
	}
	loc, err := time.LoadLocationFromTZData("Twice", append(data, "X\x00"...))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tick := range parse(t, "45 1 * * *").Preview(first.Add(-24*time.Hour), loc, 3) {
		got = append(got, tick.At.Format("2 15:04 -0700"))
		if tick.Doubled != (tick.At.Day() == 1) {
			t.Errorf("%v", tick)
		}
	}
	if want := []string{"1 01:45 +0000", "2 01:45 -0200", "3 01:45 -0200"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPreview(t *testing.T) {
	loc := zone(t, "America/New_York")
	for _, c := range []struct {
		spec, after      string
		skipped, doubled bool
	}{
		{"30 2 * * *", "2025-03-09T01:30:00-05:00", true, false},
		{"30 3 * * *", "2025-03-09T01:30:00-05:00", false, false},
		{"0 2,3 * * *", "2025-03-09T01:30:00-05:00", false, false}, // the local time exists
		{"30 1 * * *", "2025-11-02T00:00:00-04:00", false, true},
		{"30 2 * * *", "2025-11-02T00:00:00-04:00", false, false},
		{"0 1 * * *", "2025-11-02T00:00:00-04:00", false, true},
		{"59 1 * * *", "2025-11-02T00:00:00-04:00", false, true},
		{"30 * * * *", "2025-11-02T01:00:00-04:00", false, false}, // it fires again
	} {
		e := parse(t, c.spec)
		ticks := e.Preview(instant(t, c.after), loc, 2)
		if len(ticks) != 2 || ticks[0].Skipped != c.skipped || ticks[0].Doubled != c.doubled || ticks[1].Skipped || ticks[1].Doubled {
			t.Errorf("%q after %s: %v", e, c.after, ticks)
		}
		if at, _ := e.Next(instant(t, c.after), loc); !at.Equal(ticks[0].At) || ticks[0].At.Location() != loc {
			t.Errorf("%q after %s: %v, and Next is %v", e, c.after, ticks[0], at)
		}
	}
	e := parse(t, "@hourly")
	for _, n := range []int{math.MinInt, -1, 0} {
		if ticks := e.Preview(time.Now(), loc, n); ticks != nil {
			t.Errorf("%d ticks: %v", n, ticks)
		}
	}
	if ticks := e.Preview(time.Date(9999, 12, 31, 21, 0, 0, 0, time.UTC), time.UTC, math.MaxInt); len(ticks) != 2 {
		t.Errorf("to the end of time: %v", ticks)
	}
}

func TestNextAtTheEndsOfTime(t *testing.T) {
	first, last := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	for _, loc := range []*time.Location{time.UTC, zone(t, "America/Juneau"), zone(t, "Pacific/Apia"), time.FixedZone("", -26*3600), time.FixedZone("", 26*3600)} {
		for _, spec := range []string{"* * * * * *", "@hourly", "30 1 * * *", "0 0 29 2 */7"} {
			e := parse(t, spec)
			for _, after := range []time.Time{{}, time.Unix(math.MinInt64, 0), time.Unix(-1<<62, 0), first.Add(-time.Hour)} {
				at, ok := e.Next(after, loc)
				if !ok || at.Before(first) || at.Year() > 40 {
					t.Errorf("%q in %v: Next(%v) = %v, %v", spec, loc, after, at, ok)
				}
			}
			for _, after := range []time.Time{last, last.Add(time.Hour), time.Unix(1<<62, 0), time.Unix(math.MaxInt64, 999999999)} {
				if at, ok := e.Next(after, loc); ok {
					t.Errorf("%q in %v: Next(%v) = %v", spec, loc, after, at)
				}
			}
			if at, ok := e.Next(last.AddDate(-50, 0, 0), loc); !ok {
				t.Errorf("%q in %v: none after %v", spec, loc, at)
			}
		}
	}
}

// The rarest dates, over the 400 years after which the calendar repeats.
func TestRareDates(t *testing.T) {
	for _, spec := range []string{"0 0 29 2 */7", "0 0 */28 2 1", "0 0 */28 2 2", "0 0 */28 2 3", "0 0 */28 2 4", "0 0 */28 2 5", "0 0 */28 2 6"} {
		e, o := parse(t, spec), newOracle(spec)
		var want []time.Time
		for day := time.Date(1880, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2300; day = day.AddDate(0, 0, 1) {
			if o.names(read(day.Unix())) {
				want = append(want, day)
			}
		}
		after := time.Date(1880, 1, 1, 0, 0, 0, 0, time.UTC).Add(-1)
		for _, day := range want {
			at, ok := e.Next(after, time.UTC)
			if !ok || !at.Equal(day) {
				t.Fatalf("%q after %v: %v, %v, want %v", e, after, at, ok, day)
			}
			after = at
		}
	}
}

// An expression may match only skipped times.
func TestNextOfWhatIsAlwaysSkipped(t *testing.T) {
	loc := zone(t, "America/New_York")
	after := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, expression := range []string{"* 2 8-14 3 */7", "0-59 2 8-14 3 */7"} {
		if at, ok := parse(t, expression).Next(after, loc); !ok || !at.Equal(instant(t, "2025-03-09T03:00:00-04:00")) {
			t.Errorf("%s, the hour that New York skips: %v, %v", expression, at, ok)
		}
	}
}

func worst(tb testing.TB) map[string]func() {
	newYork, casablanca := zone(tb, "America/New_York"), zone(tb, "Africa/Casablanca")
	return map[string]func(){
		"quarter": func() {
			parse(tb, "*/15 * * * *").Next(time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), newYork)
		},
		"leap day": func() {
			parse(tb, "0 0 29 2 */7").Next(time.Date(2088, 3, 1, 0, 0, 0, 0, time.UTC), newYork)
		},
		"leap day, Ramadan": func() {
			parse(tb, "0 0 29 2 */7").Next(time.Date(2032, 3, 1, 0, 0, 0, 0, time.UTC), casablanca)
		},
		"never": func() {
			parse(tb, "* 2 8-14 3 */7").Next(time.Date(2032, 3, 1, 0, 0, 0, 0, time.UTC), newYork)
		},
	}
}

func TestNextTakesNoMillisecond(t *testing.T) {
	for name, next := range worst(t) {
		best := time.Hour
		for range 20 { // other programs may use the CPU
			start := time.Now()
			next()
			best = min(best, time.Since(start))
		}
		if best > time.Millisecond {
			t.Errorf("%s: %v", name, best)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for name, next := range worst(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
		})
	}
}
