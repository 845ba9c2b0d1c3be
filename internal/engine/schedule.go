package engine

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Schedule is a job with the times of its ticks.
type Schedule struct {
	Timing
	Name    string
	Where   string // file:line of the definition
	CatchUp int    // how many missed ticks run, the latest
	Overlap *bool  // whether a tick pushes while an earlier job waits or runs; nil is the default
	Job     *Definition
	// Task returns the job that a tick pushes, see Make.
	Task func(tick time.Time) (backend.NewJob, error)
	// TaskOn returns Task for a queue that changes definitions.
	TaskOn func(q *Queue) func(tick time.Time) (backend.NewJob, error)
	// Secret leaves the payload out of the definition, in which a short one could be guessed.
	Secret bool
	// AtStart pushes the job of a tick also when a worker starts.
	AtStart bool
}

// Definition returns a text that is equal for two programs with the same schedule: its
// times and what it pushes. Programs of all versions read its first parts, see
// [TimingOf].
func (s *Schedule) Definition() string {
	sum := fnv.New64a()
	job, err := s.Make(time.Time{})
	if s.Secret {
		job.Payload = nil
	}
	p := pushed{
		job.Name, job.Payload, job.Priority, job.MaxAttempts, job.Delay, job.Expires, job.Unique.Key, job.Unique.Scope, job.Unique.For,
		job.Unique.Conflict, job.Serial, job.MaxPending, job.Metadata, "", job.RunAt, job.ExpiresAt, job.Fair,
	}
	if err != nil {
		p.Error = err.Error()
	}
	text, _ := json.Marshal(p) // its types always encode
	sum.Write(text)
	return fmt.Sprintf("%s|%s|%s|%d|%x", s.Job.Name, s.Spec, s.Zone, s.CatchUp, sum.Sum64())
}

// pushed is a backend.NewJob in a definition. Add new fields at the end and leave them
// out while they are zero, or every schedule would have another definition after an
// upgrade.
type pushed struct {
	Name        string
	Payload     []byte           `json:",omitempty"`
	Priority    int16            `json:",omitempty"`
	MaxAttempts int              `json:",omitempty"`
	Delay       time.Duration    `json:",omitempty"`
	Expires     time.Duration    `json:",omitempty"`
	UniqueKey   string           `json:",omitempty"`
	Scope       backend.Scope    `json:",omitempty"`
	For         time.Duration    `json:",omitempty"`
	Conflict    backend.Conflict `json:",omitempty"`
	Serial      string           `json:",omitempty"`
	MaxPending  int              `json:",omitempty"`
	Metadata    []byte           `json:",omitempty"`
	Error       string           `json:",omitempty"`
	RunAt       time.Time        `json:",omitzero"`
	ExpiresAt   time.Time        `json:",omitzero"`
	Fair        string           `json:",omitempty"`
}

// Make calls Task, which is the user's code.
func (s *Schedule) Make(tick time.Time) (job backend.NewJob, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("making its task panicked: %v", v)
		}
	}()
	return s.Task(tick)
}

// Location returns the time zone, or an error with the place of the definition.
func (s *Schedule) Location() (*time.Location, error) {
	zone, err := s.Timing.Location()
	if err != nil {
		return nil, fmt.Errorf("schedule %q (defined at %s): %w", s.Name, s.Where, err)
	}
	return zone, nil
}

// Backoff is the policy of a job that does not overlap: the default, but at most until
// the next tick.
func (s *Schedule) Backoff(attempt int, _ error) time.Duration {
	longest := s.Every
	if zone, err := s.Location(); longest == 0 && err == nil {
		now := time.Now()
		if next, ok := s.Next(now, zone); ok {
			longest = next.Sub(now)
		}
	}
	if d := DefaultBackoff(attempt); longest == 0 || d < longest {
		return d
	}
	return longest
}

var schedules = struct {
	sync.Mutex
	byName map[string]*Schedule
}{byName: map[string]*Schedule{}}

// AddSchedule adds a schedule. It panics if the name is invalid or taken.
func AddSchedule(s *Schedule) {
	schedules.Lock()
	defer schedules.Unlock()
	if err := s.checkName(); err != nil {
		panic(fmt.Sprintf("plainjobs: %s: %v", s.Where, err))
	}
	if other := schedules.byName[s.Name]; other != nil {
		panic(fmt.Sprintf("plainjobs: schedule %q is defined twice, at %s and at %s; names are unique in a program, and "+
			"schedules belong in package-level variables", s.Name, other.Where, s.Where))
	}
	for name, other := range schedules.byName {
		if strings.EqualFold(name, s.Name) {
			panic(fmt.Sprintf("plainjobs: %s: schedule name %q differs only in case from %q, defined at %s: use another name",
				s.Where, s.Name, name, other.Where))
		}
	}
	schedules.byName[s.Name] = s
}

func (s *Schedule) checkName() error {
	if !ValidName(s.Name) {
		return fmt.Errorf("schedule name %q: %s", s.Name, NameRule)
	}
	return nil
}

// Schedules returns all schedules, ordered by name.
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

// OnTime is how late a tick may be and not count as missed.
const OnTime = time.Minute

// maxTicks limits how many ticks are taken at once. It is CatchUp's limit, too.
const maxTicks = 1000

// Due returns the ticks to push at now, when next was the first one to come: all that
// are on time, and the latest missed ones until there are catchUp. A tick is on time if
// it is late by at most fresh, and by at most [OnTime]. left is the number of ticks left
// out, as far as Due has looked, after is the tick to come, and ok is false if there is
// none.
func (t Timing) Due(next, now time.Time, zone *time.Location, catchUp int, fresh time.Duration) (ticks []time.Time, left int, after time.Time, ok bool) {
	if next.After(now) {
		return nil, 0, next, true
	}
	fresh = min(fresh, OnTime)
	ticks, after, ok = t.passed(next, now, zone, catchUp)
	onTime := slices.IndexFunc(ticks, func(t time.Time) bool { return now.Sub(t) <= fresh })
	if onTime < 0 {
		onTime = len(ticks)
	}
	missed := min(onTime, max(0, catchUp-(len(ticks)-onTime)))
	left = max(onTime-missed, len(ticks)-maxTicks)
	return ticks[left:], left, after, ok
}

// passed returns the latest ticks from next to now, in order: enough to catch up, and
// all that are on time. after is the one to come. It does not go through all ticks of a
// frequent schedule that was not looked at for years.
func (t Timing) passed(next, now time.Time, zone *time.Location, catchUp int) (ticks []time.Time, after time.Time, ok bool) {
	from := next
	if t.Every > 0 {
		if gone := int64(now.Sub(next)/t.Every) - int64(catchUp+1) - int64(OnTime/t.Every); gone > 0 {
			from = next.Add(time.Duration(gone * int64(t.Every)))
		}
	} else {
		enough := max(catchUp, 1) + 1 + int(OnTime/time.Second) // no expression has more in that time
		for span := time.Hour; now.Add(-span).After(next); span *= 4 {
			start, some := t.Next(now.Add(-span), zone)
			if !some {
				break
			}
			at := start
			for n := 0; some && !at.After(now); at, some = t.Next(at, zone) {
				if n++; n == enough {
					break
				}
			}
			if some && !at.After(now) {
				from = start
				break
			}
		}
	}
	for at, some := from, true; ; at, some = t.Next(at, zone) {
		if !some || at.After(now) {
			return ticks, at, some
		}
		ticks = append(ticks, at)
	}
}
