package dashboard

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// jobsPage is a list of jobs.
type jobsPage struct {
	Filter   filter
	States   []option
	Names    []string // that the sender may see
	Times    []option
	More     bool // the less common parts of the filter are set
	Rows     []jobRow
	Total    string // how many jobs match, if the counts tell
	Next     string // the URL of the next page
	First    string // the URL of the first page, on others
	Ended    bool   // the search ran out of time
	From     int64  // the search went down to this ID
	Empty    bool   // the queue has no jobs at all
	Searches bool   // the filter has a text
	Command  string
	Verbs    []button // on the selected jobs
	Here     string   // the URL of the page
	Changes  []link   // to actions on all jobs that match
}

type option struct {
	Value, Text string
	Set         bool
}

func (h *handler) jobs(ctx context.Context, rq *request, query url.Values) (any, error) {
	f, err := parseFilter(query, rq.now)
	if err != nil {
		return nil, err
	}
	p := &jobsPage{Filter: f, Searches: f.Error != "" || f.Payload != ""}
	p.More = f.Group != 0 || len(f.Metadata) > 0 || f.Key != "" || f.HasKey || f.Payload != "" || f.since != "" || f.until != ""
	for _, s := range backend.States() {
		p.States = append(p.States, option{s.String(), s.String(), slices.Contains(f.States, s)})
	}
	p.Times = timesOf(f.since)
	if hidden := slices.IndexFunc(f.Names, func(name string) bool { return !rq.maySee(name) }); hidden >= 0 {
		return nil, hiddenName(f.Names[hidden])
	}
	counts, err := h.queue.Counts(ctx)
	if err != nil {
		return nil, err
	}
	p.Empty = len(counts) == 0
	total, hides := int64(0), false
	for _, c := range counts {
		if !rq.maySee(c.Name) {
			hides = true
			continue
		}
		if !slices.Contains(p.Names, c.Name) && visible(c.Name) == c.Name { // others cannot be typed
			p.Names = append(p.Names, c.Name)
		}
		if f.counts(c.Name, c.State) {
			total += c.Jobs
		}
	}
	if f.counted() && (len(f.Names) > 0 || !hides) {
		p.Total = plural(total, "job")
	}
	s := search{handler: h, rq: rq, filter: f.Filter, payload: f.Payload, before: f.Before, most: pageRows}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	if p.Rows, err = s.rows(ctx); err != nil {
		return nil, err
	}
	p.Verbs = rq.selectable(s.jobs, p.Rows)
	p.Here = f.href(f.Before)
	p.Changes = rq.changes(&f, counts, p.Total)
	if p.Ended = s.ended; s.next != 0 {
		p.Next, p.From = f.href(s.next), s.next
	}
	if f.Before != 0 {
		p.First = f.href(0)
	}
	p.Command = h.jobsCommand(&f)
	return p, nil
}

// hiddenName is the answer for a name that the sender may not see. It does not say
// whether jobs of the name exist.
func hiddenName(name string) error {
	return &problem{status: 403, title: "You may not see these jobs", hold: true, text: "Jobs named " + name + " are not yours to see."}
}

func timesOf(since string) []option {
	all := []option{{"", "Any time", false}, {"15m", "The last 15 minutes", false}, {"1h", "The last hour", false}, {"24h", "The last day", false}, {"7d", "The last week", false}}
	known := false
	for i := range all {
		all[i].Set = all[i].Value == since
		known = known || all[i].Set
	}
	if !known {
		all = append(all, option{since, "Since " + visible(since), true})
	}
	return all
}

// noJob is the answer for a job that does not exist, and for one that is hidden.
func noJob(id int64) error {
	return &problem{status: 404, title: "There is no such job", hold: true,
		text: "Job #" + grouped(id) + " does not exist, or was deleted: finished jobs are deleted when their retention ends."}
}

// get returns a job that the sender may see, and the job before Redact changed it.
func (h *handler) get(ctx context.Context, rq *request, id int64) (job, raw plainjobs.Info, err error) {
	raw, err = h.queue.Get(ctx, id)
	if errors.Is(err, plainjobs.ErrNotFound) || err == nil && !rq.maySee(raw.Name) {
		return job, raw, noJob(id)
	}
	job = raw
	rq.redact(&job)
	return job, raw, err
}
