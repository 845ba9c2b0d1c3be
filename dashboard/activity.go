package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"html/template"
	"maps"
	"slices"
	"strings"
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

// A recorder keeps the activity that was read last, by span, and what pages show of it.
type recorder struct {
	mu    sync.Mutex
	last  map[*span]recorded
	shown map[excerpt]rendered
}

// An excerpt is what a page shows of a span to senders who may see the same names.
type excerpt struct {
	span  *span
	table bool
	names string // as JSON
}

type rendered struct {
	read time.Time // of the activity
	html template.HTML
}

type recorded struct {
	read time.Time
	backend.Activities
}

// activity returns the activity of a span, and when it was read.
func (h *handler) activity(ctx context.Context, s *span) (recorded, error) {
	h.recorder.mu.Lock()
	r := h.recorder.last[s]
	h.recorder.mu.Unlock()
	if time.Since(r.read) < activityEvery {
		return r, nil
	}
	store, err := engine.Capability[backend.Reader](h.backend)
	if err != nil {
		return r, err
	}
	r.read = time.Now()
	r.Activities, err = store.Activity(ctx, backend.ActivityRequest{Past: s.length + 2*s.step, Hours: s.step == time.Hour})
	if err != nil {
		return r, err
	}
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	if h.recorder.last == nil {
		h.recorder.last = map[*span]recorded{}
	}
	h.recorder.last[s] = r
	return r, nil
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

// activityHTML returns what the sender may see of a span. It is rendered once for all senders who
// may see the same names, until the activity is read again.
func (h *handler) activityHTML(ctx context.Context, rq *request, s *span, table bool) (template.HTML, error) {
	all, err := h.activity(ctx, s)
	if err != nil {
		return "", err
	}
	names := map[string]bool{}
	for i := range all.Activities.Activities {
		if name := all.Activities.Activities[i].Name; rq.maySee(name) {
			names[name] = true
		}
	}
	text, err := json.Marshal(slices.Sorted(maps.Keys(names)))
	if err != nil {
		return "", err
	}
	key := excerpt{s, table, string(text)}
	h.recorder.mu.Lock()
	d := h.recorder.shown[key]
	h.recorder.mu.Unlock()
	if d.read.Equal(all.read) && !d.read.IsZero() {
		return d.html, nil
	}
	var b strings.Builder
	if err := templates()["overview"].ExecuteTemplate(&b, "activity", activityOf(rq, s, table, all.Activities)); err != nil {
		return "", err
	}
	d = rendered{all.read, template.HTML(b.String())} //nolint:gosec // html/template has escaped it
	h.recorder.keep(key, d)
	return d.html, nil
}

// keep replaces what was rendered, and what is too old to be shown.
func (r *recorder) keep(key excerpt, d rendered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := map[excerpt]rendered{key: d}
	for other, last := range r.shown {
		if other != key && time.Since(last.read) < activityEvery {
			next[other] = last
		}
	}
	r.shown = next
}

// activityOf adds up what the sender may see of a span.
func activityOf(rq *request, s *span, table bool, all backend.Activities) *activityView {
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
	shown := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(names[b].Runs(), names[a].Runs()), strings.Compare(a, b))
	})
	v.More = max(0, len(shown)-activityNames)
	for _, name := range shown[:len(shown)-v.More] {
		v.Names = append(v.Names, namedTally{names[name], visible(name), jobsHref(ofName(name))})
	}
	v.Rate = rate(v.Sum.Runs(), s.length)
	if !table {
		v.Charts = chartsOf(steps)
		return v
	}
	for i, t := range slices.Backward(steps) {
		v.Steps = append(v.Steps, step{t, rq.moment(first.Add(time.Duration(i) * s.step))})
	}
	return v
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
