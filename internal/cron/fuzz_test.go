package cron_test

import (
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/internal/cron"
)

// A parsed expression round-trips through String, and fires.
func FuzzParse(f *testing.F) {
	for _, spec := range []string{"0 6 * * 1-5", "*/5 0 12 */2 JAN-mar,6 fri-sun", "@hourly", "0 0 30 2 *", "0 0 29 2 */7", "TZ=UTC", "99-0/5 * * * *", "1-7/3,*/9 7/2 31/1 2-3 7-2",
		"0 0 L,15W * ?", "0 12 LW,L-3 January-JUNE friL,TUESDAY#2", "0 0 31W * 7#5"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		e, err := cron.Parse(spec)
		if err != nil {
			if e != nil || !strings.HasPrefix(err.Error(), "cron expression ") {
				t.Fatalf("Parse(%q) = %v, %v", spec, e, err)
			}
			return
		}
		again, err := cron.Parse(e.String())
		if err != nil || *again != *e {
			t.Fatalf("%q reads back as %v, %v", spec, again, err)
		}
		o := newOracle(e.String())
		for after := time.Date(2095, 12, 30, 12, 0, 0, 0, time.UTC); after.Year() < 2097; after = after.AddDate(0, 0, 61) {
			at, ok := e.Next(after, time.UTC)
			if !ok {
				t.Fatalf("%q never fires", spec)
			}
			if !o.names(read(at.Unix())) {
				t.Fatalf("%q does not name %v", spec, at)
			}
			// No firing is missing, within a limited search.
			for wall := after.Unix() + 1; wall < at.Unix() && wall < after.Unix()+4000; wall++ {
				if o.names(read(wall)) {
					t.Fatalf("%q: %v comes after %v, before %v", spec, time.Unix(wall, 0).UTC(), after, at)
				}
			}
		}
	})
}

// The fields that FuzzNext chooses from, by four bits each.
var choices = [6][]string{
	{"0", "0", "0", "0", "0", "0", "0", "0", "30", "59", "0,30", "1-58/19", "*/20", "*/59", "*", "0"},
	{"0", "0", "30", "30", "15,45", "59", "0-59", "5/10", "*", "*", "*/15", "*/7", "*/60", "*,3", "1-58", "29"},
	{"0", "1", "2", "3", "2,3", "0-23", "23", "12", "1-3", "22/1", "*", "*", "*/2", "*/24", "*/5", "*,1"},
	{"*", "*", "*", "*", "*", "*/2", "*/31", "1", "31", "30,31", "8-14", "L", "29", "15W", "1,LW", "L-3"},
	{"*", "*", "*", "*", "*/2", "*/12", "2", "MAR", "NOV", "APR-OCT", "12", "1,7", "9/1", "FEB,DEC", "3-11", "OCT"},
	{"*", "*", "*", "*", "*/7", "*/2", "0", "7", "SUN", "FRI-SUN", "1-5", "6,7", "THU", "MON/3", "FRIL", "2#2"},
}

func choose(n uint) string {
	var spec []string
	for _, fields := range choices {
		spec = append(spec, fields[n%16])
		n /= 16
	}
	return strings.Join(spec, " ")
}

// Next returns a later instant, the same one from each instant in between, and one that
// the expression matches, unless it is a transition. If turn is not 0, unix is relative
// to a transition, up to half a day before or after it.
func FuzzNext(f *testing.F) {
	f.Add(uint(0), uint(0), int64(-62135596800), uint(0))
	f.Add(uint(0x000220), uint(12), int64(-3600), uint(40))
	f.Add(uint(0x4a0180), uint(12), int64(253402300799), uint(0))
	locs, turns := make([]*time.Location, len(zones)), make([][]transition, len(zones))
	for i, name := range zones {
		locs[i] = zone(f, name)
		turns[i] = transitions(locs[i], time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2045, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	f.Fuzz(func(t *testing.T, choice, zoneNumber uint, unix int64, turn uint) {
		e, err := cron.Parse(choose(choice))
		if err != nil {
			return // it never fires
		}
		zoneNumber %= uint(len(zones))
		loc := locs[zoneNumber]
		if all := turns[zoneNumber]; turn > 0 && len(all) > 0 {
			unix = all[turn%uint(len(all))].at + unix%(12*3600)
		}
		after := time.Unix(unix, 0)
		at, ok := e.Next(after, loc)
		o := newOracle(e.String())
		offset := func(at time.Time) int64 {
			_, seconds := at.In(loc).Zone()
			return int64(seconds)
		}
		if !ok {
			if year := after.UTC().Year(); !o.elapsed && year > 0 && year < 9950 {
				t.Fatalf("%q in %v never fires after %v", e, loc, after)
			}
			return
		}
		if !at.After(after) || at.Nanosecond() != 0 {
			t.Fatalf("%q in %v: Next(%v) = %v", e, loc, after, at)
		}
		if before := at.Add(-time.Second); !o.names(read(at.Unix()+offset(at))) && (o.elapsed || offset(at) <= offset(before)) {
			t.Fatalf("%q in %v does not name %v", e, loc, at.In(loc))
		}
		first := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, from := range []time.Time{at.Add(-1), at.Add(-time.Second), at.Add(-time.Hour), after.Add(1), time.Unix(max(unix, first.Unix())/2+at.Unix()/2, 0)} {
			if from.Before(after) || !from.Before(at) {
				continue
			}
			if again, ok := e.Next(from, loc); !ok || !again.Equal(at) {
				t.Fatalf("%q in %v: Next(%v) = %v, and Next(%v) = %v, %v", e, loc, after, at, from, again, ok)
			}
		}
		// The oracle's rule, within a limited search.
		for x := max(after.Unix(), first.Unix()) + 1; x < at.Unix() && x < after.Unix()+4000; x++ {
			if o.elapsed && o.names(read(x+offset(time.Unix(x, 0)))) {
				t.Fatalf("%q in %v: %v comes after %v, before %v", e, loc, time.Unix(x, 0).In(loc), after.In(loc), at.In(loc))
			}
		}
		ticks := e.Preview(after, loc, 3)
		for i, tick := range ticks {
			if i == 0 && !tick.At.Equal(at) || i > 0 && !tick.At.After(ticks[i-1].At) || tick.Skipped && tick.Doubled {
				t.Fatalf("%q in %v after %v: %v, Next is %v", e, loc, after, ticks, at)
			}
		}
	})
}
