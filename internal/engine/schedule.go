package engine

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Schedule is a job with the times at which it is pushed.
type Schedule struct {
	Name    string
	Where   string // file:line of the definition
	Spec    string // for people
	Zone    string // of the wall clock, "" is UTC
	CatchUp int    // how many missed ticks are made up for, the latest
	Job     *Definition
	// Next returns the first tick after a time, false if there is none.
	Next func(after time.Time, zone *time.Location) (time.Time, bool)
	// Task returns what a tick pushes, see Make.
	Task func(tick time.Time) (backend.NewJob, error)
	// Every is the distance of ticks that have no wall clock, or zero.
	Every time.Duration
}

// Definition is what must be equal for two programs to mean the same schedule:
// when it is, and what it pushes.
func (s *Schedule) Definition() string {
	sum := fnv.New64a()
	job, err := s.Make(time.Time{})
	fmt.Fprintf(sum, "%+v %v", job, err)
	return fmt.Sprintf("%s|%s|%s|%d|%x", s.Job.Name, s.Spec, s.Zone, s.CatchUp, sum.Sum64())
}

// Make is Task, which calls the user's code.
func (s *Schedule) Make(tick time.Time) (job backend.NewJob, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("making its task panicked: %v", v)
		}
	}()
	return s.Task(tick)
}

// Location returns the zone, or an error that says where it was asked for.
func (s *Schedule) Location() (*time.Location, error) {
	if s.Zone == "Local" {
		return nil, fmt.Errorf("schedule %q (defined at %s): Local is another zone on each machine; name one", s.Name, s.Where)
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil {
		return nil, fmt.Errorf("schedule %q (defined at %s): %w; a program that runs where there is no time zone database "+
			"imports time/tzdata", s.Name, s.Where, err)
	}
	return zone, nil
}

var schedules = struct {
	sync.Mutex
	byName map[string]*Schedule
}{byName: map[string]*Schedule{}}

// AddSchedule adds a schedule, or panics.
func AddSchedule(s *Schedule) {
	schedules.Lock()
	defer schedules.Unlock()
	if !ValidName(s.Name) {
		panic(fmt.Sprintf("plainjobs: %s: schedule name %q: a name is 1 to 128 of the characters a-z 0-9 . _ / - "+
			"and starts with a letter or digit", s.Where, s.Name))
	}
	if other := schedules.byName[s.Name]; other != nil {
		panic(fmt.Sprintf("plainjobs: schedule %q is defined twice, at %s and at %s; names are unique in a program, and "+
			"schedules belong in package-level variables", s.Name, other.Where, s.Where))
	}
	schedules.byName[s.Name] = s
}

// Schedules returns every schedule, by name.
func Schedules() []*Schedule {
	schedules.Lock()
	defer schedules.Unlock()
	var all []*Schedule
	for _, s := range schedules.byName {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Schedule) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// LookupSchedule returns the schedule with a name, or nil.
func LookupSchedule(name string) *Schedule {
	schedules.Lock()
	defer schedules.Unlock()
	return schedules.byName[name]
}

// OnTime is how late a tick may be taken that is not missed.
const OnTime = time.Minute

// maxTicks bounds how many ticks are taken at once. It is CatchUp's bound, too.
const maxTicks = 1000

// Due returns the ticks that are to be pushed at now, the first of which to
// come was next, and the one to come then: those that are on time, and of those
// that were missed the latest, until there are CatchUp. It returns false if
// there will be none.
func (s *Schedule) Due(next, now time.Time, zone *time.Location) (ticks []time.Time, after time.Time, ok bool) {
	if next.After(now) {
		return nil, next, true
	}
	ticks, after, ok = s.passed(next, now, zone)
	fresh := slices.IndexFunc(ticks, func(t time.Time) bool { return now.Sub(t) <= OnTime })
	if fresh < 0 {
		fresh = len(ticks)
	}
	missed := min(fresh, max(0, s.CatchUp-(len(ticks)-fresh)))
	return ticks[max(fresh-missed, len(ticks)-maxTicks):], after, ok
}

// passed returns the latest ticks from next to now, enough to catch up and all
// that are on time, in order, and the one after. A schedule of seconds that was
// not looked at for years is not gone through from its beginning.
func (s *Schedule) passed(next, now time.Time, zone *time.Location) (ticks []time.Time, after time.Time, ok bool) {
	from := next
	if s.Every > 0 {
		if gone := int64(now.Sub(next)/s.Every) - int64(s.CatchUp+1) - int64(OnTime/s.Every); gone > 0 {
			from = next.Add(time.Duration(gone * int64(s.Every)))
		}
	} else {
		enough := max(s.CatchUp, 1) + 1 + int(OnTime/time.Second) // no expression has more in that time
		for span := time.Hour; now.Add(-span).After(next); span *= 4 {
			start, some := s.Next(now.Add(-span), zone)
			if !some {
				break
			}
			t := start
			for n := 0; some && !t.After(now); t, some = s.Next(t, zone) {
				if n++; n == enough {
					break
				}
			}
			if some && !t.After(now) {
				from = start
				break
			}
		}
	}
	for t, some := from, true; ; t, some = s.Next(t, zone) {
		if !some || t.After(now) {
			return ticks, t, some
		}
		ticks = append(ticks, t)
	}
}
