package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// The metadata of a job that the tick of a stored schedule, or a backfill, has pushed.
const (
	ScheduleKey = "plainjobs.schedule" // the name of the schedule
	TickKey     = "plainjobs.tick"     // the tick, in RFC 3339
)

// A StoredPlan is what the definition of a stored schedule says.
type StoredPlan struct {
	Timing
	Location *time.Location
	CatchUp  int
}

// PlanOf returns the plan of a stored schedule, or an error that says why this program cannot
// follow it.
func PlanOf(s *backend.StoredSchedule) (p StoredPlan, err error) {
	timing, _, ok := TimingOf(s.Definition)
	if part := strings.Split(s.Definition, "|"); ok && len(part) >= 4 {
		p.CatchUp, err = strconv.Atoi(part[3])
		ok = err == nil && p.CatchUp >= 0 && p.CatchUp <= maxTicks
	}
	if !ok {
		return p, errors.New("this program cannot read the definition: a newer version wrote it")
	}
	p.Timing = timing
	p.Location, err = timing.Location()
	return p, err
}

// JobOfTick returns a job with the schedule and the tick in its metadata.
func JobOfTick(job backend.NewJob, schedule string, tick time.Time) backend.NewJob {
	all := map[string]string{}
	if len(job.Metadata) > 0 && json.Unmarshal(job.Metadata, &all) != nil {
		all = map[string]string{}
	}
	all[ScheduleKey], all[TickKey] = schedule, tick.UTC().Format(time.RFC3339Nano)
	job.Metadata, _ = json.Marshal(all) // strings always encode
	return job
}

// TickOf returns the schedule and the tick that metadata have, or zeros.
func TickOf(metadata map[string]string) (schedule string, tick time.Time) {
	if metadata[TickKey] != "" {
		tick, _ = time.Parse(time.RFC3339Nano, metadata[TickKey])
	}
	return metadata[ScheduleKey], tick.UTC()
}

// maxBackfill is how many ticks one backfill has.
const maxBackfill = 100_000

// Between returns the ticks from a time on, before another. An interval has one at phase, unless
// that is zero.
func (t Timing) Between(from, to, phase time.Time, zone *time.Location) (ticks []time.Time, err error) {
	at, ok := t.first(from, phase, zone)
	for ; ok && at.Before(to); at, ok = t.Next(at, zone) {
		if len(ticks) == maxBackfill {
			return nil, fmt.Errorf("there are more than %d ticks: choose a shorter time", maxBackfill)
		}
		ticks = append(ticks, at)
	}
	return ticks, nil
}

// first returns the first tick that is not before from.
func (t Timing) first(from, phase time.Time, zone *time.Location) (time.Time, bool) {
	if t.Every == 0 {
		return t.Expression.Next(from.Add(-1), zone)
	}
	if phase.IsZero() {
		return from, true
	}
	since := from.Sub(phase) % t.Every
	if since < 0 {
		since += t.Every
	}
	if since == 0 {
		return from, true
	}
	return from.Add(t.Every - since), true
}
