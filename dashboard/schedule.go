package dashboard

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/cron"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// nextTicks is how many ticks to come the page shows.
const nextTicks = 5

type schedulesPage struct {
	Schedules []scheduleRow
	Prefix    string // of the stored ones
	Next      string // the URL of the next page, empty if there is none
}

type scheduleRow struct {
	Name, Job, JobHref string
	Words, Expression  string
	Zone               string
	Note               string // what differs from normal
	Paused             bool
	Interval           bool // it follows no wall clock
	Last               moment
	Ticks              []tickRow
	Runs               []jobRow // the latest jobs, whatever pushed them; of a stored schedule, those of its ticks
	Stored             bool     // it is data, and no program defines it
	Doubtful           bool     // a tick is skipped or doubled
	Acts               []act
}

type tickRow struct {
	At   moment
	Wall string // in the schedule's zone
	In   moment
	Mark string // skipped or doubled
}

func (h *handler) schedules(ctx context.Context, rq *request, q url.Values) (any, error) {
	store, err := engine.Capability[backend.Scheduler](h.backend)
	if err != nil {
		return nil, err
	}
	if q.Get("after") != "" || q.Get("prefix") != "" { // only stored ones
		p := &schedulesPage{}
		return p, h.stored(ctx, rq, store, q, p)
	}
	stored, err := store.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]scheduleRow{}
	own := (*engine.Handle)(h.queue).Queue()
	for _, d := range own.Schedules() {
		all[d.Name] = rq.schedule(d.Name, d.Job.Name, d.Timing, &backend.Schedule{Next: rq.now}, "no worker has stored it")
	}
	for i := range stored.Schedules {
		s := &stored.Schedules[i]
		timing, job, ok := engine.TimingOf(s.Definition)
		note := ""
		d := own.Schedule(s.Name)
		switch {
		case !s.RemovedAt.IsZero():
			note = "removed: no live worker defines it"
		case s.Paused:
			note = "paused"
		case !ok:
			note = "this program cannot read its definition"
		case d != nil && d.Definition() != s.Definition:
			note = "differs from this program's definition"
		}
		all[s.Name] = rq.schedule(s.Name, job, timing, s, note)
	}
	p := &schedulesPage{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if row := all[name]; rq.maySee(row.Job) {
			if row.Runs, err = h.lastRuns(ctx, rq, row.Job); err != nil {
				return nil, err
			}
			row.Job = visible(row.Job)
			p.Schedules = append(p.Schedules, row)
		}
	}
	return p, h.stored(ctx, rq, store, q, p)
}

// scheduleRuns is how many jobs of a schedule the page shows.
const scheduleRuns = 5

// lastRuns returns the newest jobs of a name, with their outcomes.
func (h *handler) lastRuns(ctx context.Context, rq *request, name string) ([]jobRow, error) {
	s := search{handler: h, rq: rq, filter: ofName(name), most: scheduleRuns}
	if name == "" {
		return nil, nil
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return s.rows(ctx)
}

func (rq *request) schedule(name, job string, t engine.Timing, s *backend.Schedule, note string) scheduleRow {
	row := scheduleRow{
		Name: visible(name), Job: job, JobHref: jobsHref(ofName(job)), Expression: visible(t.Spec), Zone: visible(t.Zone),
		Words: visible(inWords(t.Spec)), Note: note, Paused: s.Paused, Interval: t.Every > 0, Last: rq.ago(s.Last),
	}
	row.Acts = rq.scheduleActs(name, job, s)
	if row.Zone == "" {
		row.Zone = "UTC"
	}
	zone, err := t.Location()
	if err != nil {
		row.Note = visible(err.Error())
		return row
	}
	for _, tick := range ticksOf(t, s.Next, rq.now, zone) {
		r := tickRow{At: rq.moment(tick.At), Wall: tick.At.In(zone).Format("Mon 2006-01-02 15:04:05"), In: rq.ago(tick.At)}
		switch {
		case tick.Skipped:
			r.Mark = "skipped"
			row.Doubtful = true
		case tick.Doubled:
			r.Mark = "doubled"
			row.Doubtful = true
		}
		row.Ticks = append(row.Ticks, r)
	}
	return row
}

// scheduleActs returns what the sender may do with a schedule. Only a program that defines
// it can make its job, and only a stored one can be paused.
func (rq *request) scheduleActs(name, job string, s *backend.Schedule) (all []act) {
	form := url.Values{"name": {name}, "back": {"schedules"}}
	if s.Name != "" && rq.may(Pause, job) {
		b := button{Do: "pause-schedule", Label: "Pause"}
		if s.Paused {
			b = button{Do: "resume-schedule", Label: "Resume"}
		}
		all = append(all, act{button: b, Title: b.Label + " " + visible(name), Form: form})
	}
	if (*engine.Handle)(rq.h.queue).Queue().Schedule(name) != nil && rq.may(RunNow, job) {
		all = append(all, rq.runAct(name))
	}
	return all
}

// runAct pushes the job of a schedule at once.
func (rq *request) runAct(name string) act {
	return act{
		button: button{Do: "run-schedule", Label: "Run now"}, Title: "Run " + visible(name) + " now",
		Form: url.Values{"name": {name}, "back": {"schedules"}},
	}
}

// ticksOf returns the next ticks of a timing whose next one is stored.
func ticksOf(t engine.Timing, next, now time.Time, zone *time.Location) (ticks []cron.Tick) {
	switch {
	case t.Expression != nil:
		return t.Expression.Preview(now, zone, nextTicks)
	case t.Every > 0:
		if next.Before(now) {
			next = next.Add(now.Sub(next).Truncate(t.Every) + t.Every)
		}
		for range nextTicks {
			ticks = append(ticks, cron.Tick{At: next})
			next = next.Add(t.Every)
		}
	}
	return ticks
}

// inWords returns an expression as a sentence, or the empty text if it is its own best
// description.
func inWords(spec string) string {
	if text, found := strings.CutPrefix(spec, "every "); found {
		if d, err := time.ParseDuration(text); err == nil {
			return "every " + strings.TrimPrefix(period(d), "1 ")
		}
		return spec
	}
	return cronWords(spec)
}
