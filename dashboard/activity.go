package dashboard

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/histogram"
)

// activityEvery is how old the activity may be that a page shows. Workers store it once a
// minute.
const activityEvery = 10 * time.Second

// A span is a time that the overview shows, in steps.
type span struct {
	Name, Title string
	length      time.Duration
	step        time.Duration
	Unit        string // of a step
	Ago         string // when it begins
}

var spans = []span{
	{"hour", "Last hour", time.Hour, time.Minute, "minute", "1 hour ago"},
	{"day", "Last day", 24 * time.Hour, time.Hour, "hour", "24 hours ago"},
	{"week", "Last week", 7 * 24 * time.Hour, time.Hour, "hour", "7 days ago"},
}

// spanNamed returns the span of a name, or the first.
func spanNamed(name string) *span {
	i := slices.IndexFunc(spans, func(s span) bool { return s.Name == name })
	return &spans[max(i, 0)]
}

// A recorder keeps the activity that was read last, by span.
type recorder struct {
	mu   sync.Mutex
	last map[*span]recorded
}

type recorded struct {
	read time.Time
	backend.Activities
}

// activity returns the activity of a span.
func (h *handler) activity(ctx context.Context, s *span) (backend.Activities, error) {
	h.recorder.mu.Lock()
	r := h.recorder.last[s]
	h.recorder.mu.Unlock()
	if time.Since(r.read) < activityEvery {
		return r.Activities, nil
	}
	store, err := engine.Capability[backend.Reader](h.backend)
	if err != nil {
		return r.Activities, err
	}
	r.read = time.Now()
	r.Activities, err = store.Activity(ctx, backend.ActivityRequest{Past: s.length + 2*s.step, Hours: s.step == time.Hour})
	if err != nil {
		return r.Activities, err
	}
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	if h.recorder.last == nil {
		h.recorder.last = map[*span]recorded{}
	}
	h.recorder.last[s] = r
	return r.Activities, nil
}

// A tally is the sum of activities.
type tally struct {
	Done, Retried, Failed, Cancelled int64
	waited, ran                      histogram.Histogram
}

func (t *tally) add(a *backend.Activity) {
	t.Done += a.Done
	t.Retried += a.Retried
	t.Failed += a.Failed
	t.Cancelled += a.Cancelled
	t.waited.Add(a.Waited)
	t.ran.Add(a.Ran)
}

// Runs is the number of runs.
func (t *tally) Runs() int64 { return t.Done + t.Retried + t.Failed + t.Cancelled }

// Waited and Ran are quantiles in words.
func (t *tally) Waited(q float64) string { return latency(&t.waited, q) }
func (t *tally) Ran(q float64) string    { return latency(&t.ran, q) }

func latency(h *histogram.Histogram, q float64) string {
	if h.Total() == 0 {
		return "–"
	}
	return brief(h.Quantile(q))
}

// A namedTally is the tally of a name.
type namedTally struct {
	*tally
	Name, Href string
}

// A step is the tally of one step of a span.
type step struct {
	*tally
	At moment
}

// activityNames bounds the names in the table.
const activityNames = 100

// An activityView is what the overview shows of a span.
type activityView struct {
	*span
	Spans  []span
	Table  bool // as numbers, not as charts
	Sum    *tally
	Rate   string // of runs
	Charts []chart
	Steps  []step       // the latest first, if Table is set
	Names  []namedTally // those with the most runs first
	More   int          // names that are left out
}

// activityView adds up what the sender may see of a span.
func (h *handler) activityView(ctx context.Context, rq *request, s *span, table bool) (*activityView, error) {
	all, err := h.activity(ctx, s)
	if err != nil {
		return nil, err
	}
	first, n := s.steps(all.Now)
	v := &activityView{span: s, Spans: spans, Table: table, Sum: &tally{}}
	steps := make([]*tally, n)
	for i := range steps {
		steps[i] = &tally{}
	}
	names := map[string]*tally{}
	for i := range all.Activities {
		a := &all.Activities[i]
		at := int(a.At.Sub(first) / s.step)
		if a.At.Before(first) || at >= n || !rq.maySee(a.Name) {
			continue
		}
		if names[a.Name] == nil {
			names[a.Name] = &tally{}
		}
		steps[at].add(a)
		names[a.Name].add(a)
		v.Sum.add(a)
	}
	for name, t := range names {
		v.Names = append(v.Names, namedTally{t, visible(name), jobsHref(ofName(name))})
	}
	slices.SortFunc(v.Names, func(a, b namedTally) int { return cmp.Or(cmp.Compare(b.Runs(), a.Runs()), cmp.Compare(a.Name, b.Name)) })
	if len(v.Names) > activityNames {
		v.More = len(v.Names) - activityNames
		v.Names = v.Names[:activityNames]
	}
	v.Rate = rate(v.Sum.Runs(), s.length)
	if !table {
		v.Charts = chartsOf(steps)
		return v, nil
	}
	for i, t := range slices.Backward(steps) {
		v.Steps = append(v.Steps, step{t, rq.moment(first.Add(time.Duration(i) * s.step))})
	}
	return v, nil
}

// steps returns when the first step begins and the number of steps. A minute is shown once
// it is over: workers store it then. An hour is shown from its first minute.
func (s *span) steps(now time.Time) (first time.Time, n int) {
	n = int(s.length / s.step)
	last := now.Truncate(s.step)
	if s.step < time.Hour {
		last = last.Add(-s.step)
	}
	return last.Add(-time.Duration(n-1) * s.step), n
}
