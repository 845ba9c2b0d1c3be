package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/cron"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) schedulesCommand() *cobra.Command {
	var next, limit int
	var zone, prefix, after string
	var remove bool
	c := &cobra.Command{
		Use:   "schedules [NAME] [flags]",
		Short: "List schedules and their next ticks",
		Long: `Schedules lists the schedules of this program and of the workers, then those that are
stored, and with --next their next ticks. A tick is marked "skipped" if its local time
does not exist, because clocks are set forward, and "doubled" if its local time occurs
twice. The job runs once in both cases. With the NAME of a stored schedule, its last
runs are shown as well.`,
		Example: `  schedules
  schedules daily-report --next 5
  schedules --next 3 --zone America/New_York
  schedules --prefix report/ --limit 1000
  schedules report/acme --remove`,
		Args: takes(0, 1),
	}
	c.Flags().IntVar(&next, "next", 0, "show the next `N` ticks")
	c.Flags().StringVar(&zone, "zone", "", "show times in `ZONE`, e.g. Europe/Berlin, instead of the schedule's zone")
	c.Flags().StringVar(&prefix, "prefix", "", "only schedules whose names begin with `TEXT`")
	c.Flags().StringVar(&after, "after", "", "only stored schedules after `NAME`, for the next page")
	c.Flags().IntVar(&limit, "limit", 100, "at most `N` stored schedules, up to 1000")
	c.Flags().BoolVar(&remove, "remove", false, "delete the stored schedule NAME; its jobs stay")
	jsonFlag(c)
	completesFirst(c, definedSchedules)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		if next < 0 || next > 1000 {
			return usage("--next %d is out of range: give 0 to 1000", next)
		}
		var in *time.Location
		if zone != "" {
			var err error
			if in, err = time.LoadLocation(zone); err != nil {
				return usage("--zone: %w", err)
			}
		}
		switch {
		case limit < 1 || limit > 1000:
			return usage("--limit %d is out of range: give 1 to 1000", limit)
		case len(args) > 0 && (prefix != "" || after != ""):
			return usage("schedules: --prefix and --after do not apply to one NAME")
		case remove && len(args) == 0:
			return usage("schedules: give the NAME of the schedule to remove; usage: %s", c.UseLine())
		case remove:
			return p.removeSchedule(ctx, s, args[0])
		}
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		if len(args) > 0 {
			pl, err := planNamed(ctx, q, args[0])
			if err != nil {
				return err
			}
			pl.look(s.now, next, in)
			if err := s.plans([]*plan{pl}, next > 0); err != nil || s.json {
				return err
			}
			return s.lastRuns(pl)
		}
		all, last, err := plansIn(ctx, q, prefix, after, limit)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return nothing("this program and its workers define no such schedules, and none is stored")
		}
		for _, pl := range all {
			pl.look(s.now, next, in)
		}
		err = s.plans(all, next > 0)
		if err == nil && last != "" {
			s.say("for the next page: --after %s", last)
		}
		return err
	})
}

// removeSchedule deletes a stored schedule.
func (p *program) removeSchedule(ctx context.Context, s *screen, name string) error {
	q, done, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	err = q.RemoveSchedule(ctx, name)
	switch {
	case errors.Is(err, plainjobs.ErrNotFound):
		return nothing("no stored schedule is named %s%s", name, didYouMean(name, scheduleNames(ctx, q)))
	case err != nil:
		return err
	case s.json:
		return s.object(struct {
			Removed string `json:"removed"`
		}{name})
	}
	s.say("removed schedule %s", name)
	return nil
}

// plansIn returns the schedules whose names begin with prefix: those that are defined, unless after
// is set, and a page of those that are stored. If there may be more of these, last is the last name.
func plansIn(ctx context.Context, q *plainjobs.Queue, prefix, after string, limit int) (all []*plan, last string, err error) {
	if after == "" {
		if all, err = plansOf(ctx, q); err != nil {
			return nil, "", err
		}
		all = slices.DeleteFunc(all, func(pl *plan) bool { return !strings.HasPrefix(pl.name, prefix) })
	}
	stored, err := q.ListSchedules(ctx, prefix, after, limit)
	for i := range stored {
		all = append(all, planOfStored(&stored[i]))
	}
	if len(stored) == limit {
		last = stored[limit-1].Name
	}
	return all, last, err
}

// planNamed returns the schedule with a name.
func planNamed(ctx context.Context, q *plainjobs.Queue, name string) (*plan, error) {
	all, err := plansOf(ctx, q)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, pl := range all {
		if pl.name == name {
			return pl, nil
		}
		names = append(names, pl.name)
	}
	pl, err := storedNamed(ctx, q, name)
	if err == nil && pl == nil {
		err = nothing("no schedule is named %s%s", name, didYouMean(name, names))
	}
	return pl, err
}

// A plan is a schedule as this program and the store know it.
type plan struct {
	name, job, spec, zone string
	stored                *backend.Schedule // nil if no worker has stored it
	defined               *engine.Schedule  // nil if this program does not define it
	ticks                 []tick
	problem               error
	data                  *plainjobs.ScheduleInfo // nil unless the schedule is stored as data
	runs                  []run                   // of data
}

type tick struct {
	at   time.Time
	mark string
}

// plansOf returns the schedules of the program and of the store, by name.
func plansOf(ctx context.Context, q *plainjobs.Queue) ([]*plan, error) {
	byName := map[string]*plan{}
	for _, d := range (*engine.Handle)(q).Queue().Schedules() {
		byName[d.Name] = &plan{name: d.Name, job: d.Job.Name, spec: d.Spec, zone: d.Zone, defined: d}
	}
	store, err := storeOf[backend.Scheduler](q, "schedules")
	if err != nil {
		return nil, err
	}
	stored, err := store.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	for i := range stored.Schedules {
		st := &stored.Schedules[i]
		pl := byName[st.Name]
		if pl == nil {
			pl = &plan{name: st.Name}
			// Another program defines it. The format is that of engine.Schedule.Definition.
			if part := strings.Split(st.Definition, "|"); len(part) >= 4 {
				pl.job, pl.spec, pl.zone = part[0], part[1], part[2]
			}
			byName[st.Name] = pl
		}
		pl.stored = st
	}
	var all []*plan
	for _, name := range keys(byName) {
		all = append(all, byName[name])
	}
	return all, nil
}

// look finds the next n ticks, at least one, in the schedule's zone or another.
func (pl *plan) look(now time.Time, n int, in *time.Location) {
	zone, err := time.LoadLocation(pl.zone)
	if err != nil {
		pl.problem = err
		return
	}
	n = max(n, 1)
	if e, err := cron.Parse(pl.spec); err == nil {
		for _, t := range e.Preview(now, zone, n) {
			mark := ""
			switch {
			case t.Skipped:
				mark = "skipped"
			case t.Doubled:
				mark = "doubled"
			}
			pl.ticks = append(pl.ticks, tick{t.At, mark})
		}
	} else { // an interval
		every, _ := time.ParseDuration(strings.TrimPrefix(pl.spec, "every "))
		at := now.Add(every)
		if pl.stored != nil {
			at = pl.stored.Next
		}
		for ; every > 0 && len(pl.ticks) < n; at = at.Add(every) {
			pl.ticks = append(pl.ticks, tick{at: at})
		}
	}
	if in == nil {
		in = zone
	}
	for i := range pl.ticks {
		pl.ticks[i].at = pl.ticks[i].at.In(in)
	}
}

// state returns a note on a schedule that differs from normal.
func (pl *plan) state() cell {
	switch {
	case pl.problem != nil:
		return cell{pl.problem.Error(), red}
	case pl.stored == nil:
		return cell{"no worker has stored it", yellow}
	case !pl.stored.RemovedAt.IsZero():
		return cell{"removed: no live worker defines it", yellow}
	case pl.stored.Paused:
		return cell{"paused", yellow}
	case pl.data != nil && pl.data.Problem != "":
		return cell{pl.data.Problem, red}
	case pl.data != nil:
		return cell{"stored", normal}
	case pl.defined != nil && pl.defined.Definition() != pl.stored.Definition:
		return cell{"differs from the definition of the last worker", yellow}
	}
	return cell{"", normal}
}

type planRecord struct {
	Name       string       `json:"name"`
	Job        string       `json:"job"`
	Expression string       `json:"expression"`
	Zone       string       `json:"zone"`
	State      string       `json:"state"`
	Next       *time.Time   `json:"next,omitempty"`
	Last       *time.Time   `json:"last,omitempty"`
	Ticks      []tickRecord `json:"ticks,omitempty"`
	Stored     bool         `json:"stored,omitempty"`
	Runs       []run        `json:"runs,omitempty"`
}

type tickRecord struct {
	At   time.Time `json:"at"`
	Mark string    `json:"mark,omitempty"`
}

// tickForm is the format of ticks.
const tickForm = "Mon 2006-01-02 15:04:05 MST"

func (s *screen) plans(all []*plan, ticks bool) error {
	t := &table{header: []string{"SCHEDULE", "WHEN", "ZONE", "JOB", "NEXT", "LAST", "NOTE"}}
	n := &table{header: []string{"SCHEDULE", "TICK", "", "NOTE"}}
	for _, pl := range all {
		var last time.Time
		if pl.stored != nil {
			last = pl.stored.Last
		}
		zone := pl.zone
		if zone == "" {
			zone = "UTC"
		}
		if s.json {
			r := planRecord{Name: pl.name, Job: pl.job, Expression: pl.spec, Zone: zone, State: pl.state().text, Last: some(last), Stored: pl.data != nil, Runs: pl.runs}
			if len(pl.ticks) > 0 {
				r.Next = &pl.ticks[0].at
			}
			for _, tk := range pl.ticks {
				if ticks {
					r.Ticks = append(r.Ticks, tickRecord{tk.at, tk.mark})
				}
			}
			if err := s.object(r); err != nil {
				return err
			}
			continue
		}
		next := "-"
		if len(pl.ticks) > 0 {
			next = pl.ticks[0].at.Format(tickForm)
		}
		t.add(pl.name, pl.spec, zone, pl.job, next, s.when(last), pl.state())
		for _, tk := range pl.ticks {
			n.add(pl.name, tk.at.Format(tickForm), s.when(tk.at), cell{tk.mark, yellow})
		}
	}
	switch {
	case s.json:
		return nil
	case ticks:
		return s.print(n)
	}
	return s.print(t)
}

// nextTick describes a schedule's next tick for list and work.
func nextTick(d *engine.Schedule, now time.Time) string {
	pl := &plan{name: d.Name, spec: d.Spec, zone: d.Zone, defined: d}
	switch pl.look(now, 1, nil); {
	case pl.problem != nil:
		return pl.problem.Error()
	case len(pl.ticks) == 0:
		return "never"
	}
	return fmt.Sprint("next ", pl.ticks[0].at.Format("Mon 2006-01-02 15:04 MST"))
}
