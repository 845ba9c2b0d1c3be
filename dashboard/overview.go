package dashboard

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/doctor"
)

// overview is what the first page shows.
type overview struct {
	States   []string
	Names    []nameRow // those with the most failed jobs first
	Sum      nameRow
	Paused   bool // the whole queue
	Workers  workerSum
	Waiting  int64
	Oldest   *oldest
	Problems []problemRow
	Checked  moment // when the problems were looked for; empty if not yet
	Unknown  string // why they are not known
	Failures []jobRow
	Activity template.HTML
	Whole    bool // the sender may see the whole queue
}

// A nameRow has the counts of a name by state, and what bounds it.
type nameRow struct {
	Name, Href string
	Cells      []countCell
	Notes      []string
	Paused     bool
}

type countCell struct {
	State, Href string
	Jobs        int64
}

type workerSum struct{ Alive, All int }

type oldest struct {
	Name, Href string
	ID         int64
	Since      moment
	Partly     bool
}

type problemRow struct{ Check, What, Fix string }

func (h *handler) overview(ctx context.Context, rq *request, query url.Values) (any, error) {
	counts, err := h.queue.Counts(ctx)
	if err != nil {
		return nil, err
	}
	age := time.Duration(0) // of what changes seldom
	if rq.live {
		age = seldomEvery
	}
	infos, err := h.settings(ctx, rq)
	if err != nil {
		return nil, err
	}
	o := &overview{Whole: rq.maySee("")}
	for _, s := range backend.States() {
		o.States = append(o.States, s.String())
	}
	o.fill(rq, counts, infos)
	if o.Whole {
		workers, err := h.crew.get(ctx, age)
		if err != nil {
			return nil, err
		}
		o.Workers.All = len(workers)
		for _, w := range workers {
			if w.Alive {
				o.Workers.Alive++
			}
		}
		o.addFindings(rq, h.checkup.get(ctx))
	}
	if o.Activity, err = h.activityHTML(ctx, rq, spanNamed(query.Get("span")), query.Get("as") == "table"); err != nil {
		return nil, err
	}
	if o.Failures, err = h.latestFailures(ctx, rq, counts); err != nil {
		return nil, err
	}
	return o, nil
}

// seldomEvery is how old what changes seldom may be in an update. A page that is loaded reads it.
const seldomEvery = 5 * time.Second

// settings returns the settings of names, in an update those of the last seconds.
func (h *handler) settings(ctx context.Context, rq *request) ([]plainjobs.NameInfo, error) {
	if rq.live {
		return h.names.get(ctx, seldomEvery)
	}
	return h.names.fresh(ctx)
}

// namesOf returns the settings of names, or none if the store keeps none.
func (h *handler) namesOf(ctx context.Context) ([]plainjobs.NameInfo, error) {
	infos, err := h.queue.Names(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	return infos, err
}

// fill adds a row for each name that the sender may see.
func (o *overview) fill(rq *request, counts []plainjobs.Count, infos []plainjobs.NameInfo) {
	type stats struct {
		of   map[plainjobs.State]int64
		info plainjobs.NameInfo
	}
	all, sum := map[string]*stats{}, stats{of: map[plainjobs.State]int64{}}
	of := func(name string) *stats {
		if all[name] == nil {
			all[name] = &stats{of: map[plainjobs.State]int64{}}
		}
		return all[name]
	}
	for _, i := range infos {
		switch {
		case i.Name == "":
			o.Paused = i.Paused
		case rq.maySee(i.Name):
			of(i.Name).info = i
		}
	}
	for _, c := range counts {
		if rq.maySee(c.Name) {
			of(c.Name).of[c.State] = c.Jobs
			sum.of[c.State] += c.Jobs
			if c.State.Waits() {
				o.Waiting += c.Jobs
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if x, y := all[a].of[plainjobs.Failed], all[b].of[plainjobs.Failed]; x != y {
			return int(max(-1, min(1, y-x)))
		}
		return strings.Compare(a, b)
	})
	row := func(name string, s *stats) nameRow {
		r := nameRow{Name: visible(name), Href: jobsHref(ofName(name)), Paused: s.info.Paused, Notes: limitNotes(&s.info, s.of[plainjobs.Running])}
		for _, state := range backend.States() {
			r.Cells = append(r.Cells, countCell{State: state.String(), Jobs: s.of[state], Href: jobsHref(ofName(name, state))})
		}
		return r
	}
	for _, name := range names {
		o.Names = append(o.Names, row(name, all[name]))
	}
	o.Sum = row("", &sum)
}

// limitNotes describes the limits of a name.
func limitNotes(n *plainjobs.NameInfo, running int64) (notes []string) {
	if n.MaxRunning > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d running", running, n.MaxRunning))
	}
	if n.Rate > 0 {
		notes = append(notes, fmt.Sprintf("%d in %s", n.Rate, period(n.Per)))
	}
	return notes
}

func (o *overview) addFindings(rq *request, f findings) {
	if f.err != nil {
		o.Unknown = visible(problemOf(f.err).Error())
	}
	if f.at.IsZero() {
		return
	}
	o.Checked = rq.ago(f.at)
	for _, p := range f.problem {
		o.Problems = append(o.Problems, problemRow{Check: p.Check, What: visible(p.What), Fix: visible(rq.h.fix(p))})
	}
	if f.oldest != nil && rq.maySee(f.oldest.Name) {
		o.Oldest = &oldest{Name: visible(f.oldest.Name), ID: f.oldest.ID, Href: jobHref(f.oldest.ID), Since: rq.since(claimable(f.oldest)), Partly: f.partly}
	}
}

// fix returns the fix of a finding. A command has the program's name.
func (h *handler) fix(f doctor.Finding) string {
	if f.Check == "pauses" {
		return h.opts.Program + " " + f.Fix
	}
	return f.Fix
}
