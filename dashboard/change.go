package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

type link struct{ Href, Text string }

// changes returns links to the actions on all jobs that match a filter. total is how many
// match, if that is known.
func (rq *request) changes(f *filter, counts []backend.Count, total string) (all []link) {
	if !rq.h.operates() {
		return nil
	}
	for _, v := range verbs {
		if v.keyed && !f.HasKey {
			continue
		}
		n := int64(0)
		for _, c := range counts {
			if f.counts(c.Name, c.State) && slices.Contains(v.of(f.States), c.State) && rq.maySee(c.Name) && rq.may(v.action, c.Name) {
				n += c.Jobs
			}
		}
		if n == 0 {
			continue
		}
		text := v.label
		switch {
		case !f.counted():
		case len(f.States) == 1:
			text = fmt.Sprintf("%s: %s", v.label, plural(n, "job"))
		default:
			text = fmt.Sprintf("%s: %s (%s)", v.label, plural(n, "job"), stateList(v.of(f.States)))
		}
		q := f.values()
		q.Set("do", string(v.action))
		all = append(all, link{"change?" + q.Encode(), text})
	}
	return all
}

// of returns the states of the jobs that the verb applies to on a filter with states, or
// without: those of the filter that the verb takes, in the order of a job's life.
func (v *verb) of(states []plainjobs.State) (taken []plainjobs.State) {
	switch {
	case len(states) > 0:
		for _, s := range v.states {
			if slices.Contains(states, s) {
				taken = append(taken, s)
			}
		}
		return taken
	case v.usual != nil:
		return v.usual
	}
	return v.states
}

func stateNames(states []plainjobs.State) (names []string) {
	for _, s := range states {
		names = append(names, s.String())
	}
	return names
}

func stateList(states []plainjobs.State) string { return joined(stateNames(states)) }

// changePage asks whether to change all jobs that match a filter, and says how many that
// are.
type changePage struct {
	Label    string
	Count    string
	None     bool
	Facts    []fact // the filter
	Hidden   bool   // it leaves out jobs that the sender may not change
	Grave    bool
	Priority bool // it may set one
	Required bool // it must
	With     string
	Back     string
	Command  string
	Longer   string // the URL of the page with a longer count, or empty
}

func (p *changePage) title() string { return p.Label + " " + p.Count + "?" }

// countWait bounds the count of jobs that the counts by name and state do not tell, and
// countLong bounds it for a sender who asks for more.
const (
	countWait = 30 * time.Millisecond
	countLong = 4 * time.Second
)

func (h *handler) change(ctx context.Context, rq *request, query url.Values) (any, error) {
	v, f, err := rq.choice(query)
	if err != nil {
		return nil, err
	}
	newest, _, err := h.queue.List(ctx, plainjobs.Filter{}, 0, 1)
	if err != nil {
		return nil, err
	}
	top := int64(0)
	if len(newest) > 0 {
		top = newest[0].ID
	}
	s := &sweep{handler: h, verb: v, filter: f, top: top}
	wait := countWait
	if query.Get("count") == "long" {
		wait = countLong
	}
	n, more, err := s.count(ctx, rq, wait)
	if err != nil {
		return nil, err
	}
	p := &changePage{
		Label: cmp.Or(v.ofAll, v.label), Count: plural(n, "job"), None: n == 0 && !more, Facts: f.facts(v), Hidden: s.hidden, Grave: v.grave,
		Priority: v.action == Retry || v.action == Prioritize, Required: v.action == Prioritize, Back: f.href(0),
		Command: h.changeCommand(v, &f),
	}
	if more {
		p.Count += " or more"
		if wait == countWait {
			q := f.values()
			q.Set("do", string(v.action))
			q.Set("count", "long")
			p.Longer = "change?" + q.Encode()
		}
	}
	// The filter is fixed, so that the jobs changed are those counted.
	f.since, f.until = fixed(f.Since), fixed(f.Until)
	q := f.values()
	q.Set("verb", string(v.action))
	q.Set("top", strconv.FormatInt(top, 10))
	if !more {
		q.Set("total", strconv.FormatInt(n, 10))
	}
	q.Set("back", p.Back)
	p.With = q.Encode()
	return p, nil
}

func fixed(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// choice returns the verb and the filter in a query.
func (rq *request) choice(query url.Values) (*verb, filter, error) {
	v := verbOf(Action(query.Get("do")))
	if v == nil {
		return nil, filter{}, &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: fmt.Sprintf("There is no action %q.", visible(query.Get("do")))}
	}
	f, err := parseFilter(query, rq.now)
	switch {
	case err != nil:
		return nil, f, err
	case len(v.of(f.States)) == 0:
		return nil, f, &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: fmt.Sprintf("Jobs that are %s cannot be %s.", stateList(f.States), v.past)}
	}
	for _, name := range f.Names {
		if !rq.maySee(name) {
			return nil, f, hiddenName(name)
		}
		if !rq.may(v.action, name) {
			return nil, f, refused(v.action, name)
		}
	}
	return v, f, nil
}

// facts says in words which jobs the filter selects.
func (f *filter) facts(v *verb) (all []fact) {
	all = append(all, fact{Label: "State", Text: stateList(v.of(f.States))})
	if f.HasKey {
		all = append(all, fact{Label: "Unique key", Text: "held now"})
	}
	group := ""
	if f.Group != 0 {
		group = strconv.FormatInt(f.Group, 10)
	}
	for _, part := range [][2]string{
		{"Name", f.NameList()}, {"Metadata", strings.Join(f.Pairs(), ", ")}, {"Group", group}, {"Key", f.Key}, {"Error contains", f.Error}, {"Payload contains", f.Payload}, {"Since", f.since}, {"Until", f.until},
	} {
		if part[1] != "" {
			all = append(all, fact{Label: part[0], Text: visible(part[1])})
		}
	}
	return all
}

// count counts the jobs that the sweep would change, for about the time that it may take.
// More says that there are more.
func (s *sweep) count(ctx context.Context, rq *request, wait time.Duration) (n int64, more bool, err error) {
	counts, err := s.queue.Counts(ctx)
	if err != nil {
		return 0, false, err
	}
	for _, c := range counts {
		if !slices.Contains(s.verb.of(s.filter.States), c.State) || !s.filter.counts(c.Name, c.State) {
			continue
		}
		if rq.maySee(c.Name) && rq.may(s.verb.action, c.Name) {
			n += c.Jobs
		} else if rq.maySee(c.Name) {
			s.hidden = true
		}
	}
	if s.filter.counted() || n == 0 {
		return n, false, nil
	}
	n = 0
	begin := time.Now()
	timed, cancel := context.WithTimeout(ctx, wait+searchWait) // a single read may be slow
	defer cancel()
	for {
		ids, err := s.page(timed, rq, 1000)
		n += int64(len(ids))
		switch {
		case err != nil && ctx.Err() == nil && timed.Err() != nil:
			return n, true, nil
		case err != nil:
			return n, false, err
		case s.ended():
			return n, false, nil
		case time.Since(begin) > wait:
			return n, true, nil
		}
	}
}
