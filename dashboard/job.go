package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/payload"
)

// jobPage is everything that the store has about a job.
type jobPage struct {
	Row      jobRow
	Why      string
	Facts    []fact
	Timeline []entry
	Steps    []stepView
	Logs     []logView
	Payload  block
	Dropped  bool     // the payload was deleted when the job ended
	Type     string   // of the payload, where the program knows it
	Misfits  []string // why the payload is not of the type
	Result   *block
	Progress string
	Diff     *diffView
	Commands []command
	Raw      string // the URL of the payload, as text
	RawOf    string // of the result
	Acts     []act
	Again    string // the URL of the form that performs the job again
}

func (p *jobPage) title() string { return fmt.Sprintf("%s #%d", p.Row.Name, p.Row.ID) }

// A fact is a property of a job: a text, a time, or a link.
type fact struct {
	Label, Text, Href string
	When              moment
}

// An entry is an event in a job's life.
type entry struct {
	When   moment
	State  string // of its mark
	Title  string
	Run    string // where it ran, and how long
	Text   block
	Stack  block
	Number int  // of the error, from 1; zero if it is none
	Future bool // it is still to come
}

type command struct{ Text, What string }

// A stepView is a step that is stored. Its result is not shown: Redact does not know it.
type stepView struct {
	Name    string
	When    moment
	Command string // that repeats the step and those after it, or empty
}

func (h *handler) job(ctx context.Context, rq *request, query url.Values) (any, error) {
	id, err := jobID(query.Get("id"))
	if err != nil {
		return nil, err
	}
	j, raw, err := h.get(ctx, rq, id)
	if err != nil {
		return nil, err
	}
	key := strconv.FormatInt(id, 10)
	p := &jobPage{Row: rq.row(&j), Payload: newBlock(pretty(j.Payload)), Dropped: j.Dropped, Raw: "raw?id=" + key + "&part=payload"}
	if p.Why, err = h.why(ctx, &j, &raw); err != nil {
		return nil, err
	}
	if d := h.definition(j.Name); d != nil {
		p.Type, p.Misfits = d.Type.String(), h.misfits(d, &j, &raw)
	}
	if j.Result != nil {
		b := newBlock(pretty(j.Result))
		p.Result, p.RawOf = &b, "raw?id="+key+"&part=result"
	}
	if j.ProgressTotal > 0 {
		p.Progress = grouped(j.ProgressDone) + " of " + grouped(j.ProgressTotal)
	}
	worker, err := h.workerOf(ctx, &j)
	if err != nil {
		return nil, err
	}
	p.Facts, p.Timeline, p.Logs = rq.facts(&j, worker), rq.timeline(&j), rq.logs(&j)
	if worker != nil {
		for _, s := range rq.stuck(worker, id) {
			p.Timeline = append(p.Timeline, entry{State: "failed", Title: "Stuck: the handler still runs although its context has ended", Stack: s.Stack})
		}
	}
	if p.Steps, err = h.steps(ctx, rq, &j); err != nil {
		return nil, err
	}
	p.Timeline = withSteps(p.Timeline, p.Steps)
	if p.Diff, err = diffOf(&j, query); err != nil {
		return nil, err
	}
	p.Commands = h.commands(&j)
	back := jobHref(id)
	for _, b := range rq.buttons(&j) {
		a := act{button: b, Value: j.Priority, Form: url.Values{"id": {key}, "back": {back}}}
		if b.Do == string(Delete) {
			a.Form.Set("back", "jobs")
		}
		p.Acts = append(p.Acts, a)
	}
	if !j.Dropped && rq.may(Duplicate, j.Name) {
		p.Again = "again?id=" + key
	}
	return p, nil
}

// misfitsMost is how many reasons the page shows.
const misfitsMost = 5

// misfits returns why a payload that is shown in full does not decode into its type.
func (h *handler) misfits(d *engine.Definition, j, raw *plainjobs.Info) []string {
	if len(raw.Payload) > shownBytes || !bytes.Equal(j.Payload, raw.Payload) {
		return nil
	}
	data, err := h.engine().Decrypt(engine.KindPayload, raw.Name, raw.Payload)
	if err != nil {
		return []string{visible(err.Error())}
	}
	all := payload.Mismatches(d, data)
	all = all[:min(len(all), misfitsMost)]
	for i := range all {
		all[i] = visible(all[i])
	}
	return all
}

// why says in words what a job waits for, where it runs, or how it ended.
func (h *handler) why(ctx context.Context, j, raw *plainjobs.Info) (string, error) {
	if j.State.Terminal() {
		return "", nil // the timeline says how it ended
	}
	why, err := h.queue.Why(ctx, j.ID)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, plainjobs.ErrNotFound) {
		return "", nil
	}
	for _, key := range [][2]string{{raw.SerialKey, j.SerialKey}, {raw.FairKey, j.FairKey}} { // they may have been changed by Redact
		if key[0] != "" {
			why = strings.ReplaceAll(why, strconv.Quote(key[0]), strconv.Quote(key[1]))
		}
	}
	return visible(why), err
}

// facts returns the properties of a job that are set.
func (rq *request) facts(j *plainjobs.Info, w *plainjobs.Worker) (facts []fact) {
	add := func(label, text string) {
		if text != "" {
			facts = append(facts, fact{Label: visible(label), Text: visible(text)})
		}
	}
	facts = append(facts, fact{Label: "Attempt", Text: attempts(j)})
	if j.Priority != 0 {
		add("Priority", strconv.Itoa(int(j.Priority)))
	}
	if j.Crashes > 0 {
		add("Crashes", strconv.Itoa(j.Crashes))
	}
	if j.Suspect {
		add("Suspect", "its worker died while it ran")
	}
	if j.State == plainjobs.Running {
		add("Worker", workerWords(w))
	}
	if j.State.Terminal() && !j.StartedAt.IsZero() {
		add("Took", short(j.FinishedAt.Sub(j.StartedAt)))
	}
	for _, key := range []struct{ label, text string }{{"Unique key", j.UniqueKey}, {"Serial key", j.SerialKey}, {"Fair key", j.FairKey}} {
		if key.text != "" {
			f := plainjobs.Filter{Key: key.text, Names: []string{j.Name}}
			facts = append(facts, fact{Label: key.label, Text: visible(key.text), Href: jobsHref(f)})
		}
	}
	if j.BlockedBy != 0 {
		facts = append(facts, fact{Label: "Blocked by", Text: fmt.Sprintf("#%d", j.BlockedBy), Href: jobHref(j.BlockedBy)})
	}
	facts = append(facts, gatingFacts(j)...)
	if !j.KeyUntil.IsZero() {
		facts = append(facts, fact{Label: "Key kept until", When: rq.moment(j.KeyUntil)})
	}
	for _, key := range slices.Sorted(maps.Keys(j.Metadata)) {
		add(key, j.Metadata[key])
	}
	return facts
}

// workerOf returns the worker that runs a job, or nil if there is none.
func (h *handler) workerOf(ctx context.Context, j *plainjobs.Info) (*plainjobs.Worker, error) {
	if j.State != plainjobs.Running {
		return nil, nil
	}
	workers, err := h.queue.Workers(ctx)
	for i := range workers {
		if workers[i].ID == j.Worker {
			return &workers[i], err
		}
	}
	return nil, err
}

func workerWords(w *plainjobs.Worker) string {
	if w == nil {
		return "gone"
	}
	words := fmt.Sprintf("%s, pid %d", w.Host, w.PID)
	if w.Version != "" {
		words += ", " + w.Version
	}
	return words
}

// timeline returns what is known of a job's life, in order.
func (rq *request) timeline(j *plainjobs.Info) []entry {
	all := []entry{{When: rq.moment(j.CreatedAt), State: "pending", Title: "Pushed"}}
	last := j.CreatedAt
	if j.Failures == 0 && len(j.Errors) == 0 && j.FairKey == "" && j.RunAt.Sub(j.CreatedAt) > 0 && j.State != plainjobs.Scheduled {
		all = append(all, entry{When: rq.moment(j.RunAt), State: "scheduled", Title: "Due, " + short(j.RunAt.Sub(j.CreatedAt)) + " after the push"})
	}
	for i, e := range j.Errors {
		if i > 0 && e.Attempt < j.Errors[i-1].Attempt {
			all = append(all, entry{State: "scheduled", Title: "Retried by an operator: attempts count from 1 again"})
		}
		title := fmt.Sprintf("Attempt %d failed", e.Attempt)
		if i == len(j.Errors)-1 && j.State == plainjobs.Cancelled {
			title = fmt.Sprintf("Cancelled in attempt %d", e.Attempt)
		}
		title += ", " + short(e.At.Sub(last)) + " later"
		all = append(all, entry{When: rq.moment(e.At), State: "failed", Title: title, Run: rq.runWords(&e), Text: newBlock(e.Error), Stack: newBlock(e.Stack), Number: i + 1})
		last = e.At
	}
	if !j.StartedAt.IsZero() && (j.State == plainjobs.Running || j.State == plainjobs.Done) {
		all = append(all, entry{When: rq.moment(j.StartedAt), State: "running", Title: fmt.Sprintf("Attempt %d started", j.Attempt)})
	}
	switch {
	case j.State.Terminal():
		title := strings.ToUpper(j.State.String()[:1]) + j.State.String()[1:]
		if !j.StartedAt.IsZero() {
			title += ", after a run of " + short(j.FinishedAt.Sub(j.StartedAt))
		}
		all = append(all, entry{When: rq.moment(j.FinishedAt), State: j.State.String(), Title: title})
	case j.State == plainjobs.Running && j.StartedAt.IsZero():
		all = append(all, entry{State: "running", Title: fmt.Sprintf("Attempt %d is claimed by a worker; the start is not known yet", j.Attempt)})
	case j.State == plainjobs.Scheduled:
		all = append(all, entry{When: rq.moment(j.RunAt), State: "scheduled", Future: true, Title: fmt.Sprintf("Attempt %d may start", j.Attempt)})
	}
	if !j.ExpiresAt.IsZero() {
		all = append(all, entry{When: rq.moment(j.ExpiresAt), State: "cancelled", Future: true, Title: "Expires unless it has started"})
	}
	return all
}

// stepsInTimeline is the number of steps in a timeline, the last ones. The page lists all.
const stepsInTimeline = 20

// withSteps puts the last steps at their places in a timeline.
func withSteps(timeline []entry, steps []stepView) []entry {
	if more := len(steps) - stepsInTimeline; more > 0 {
		steps = steps[more:]
	}
	var all []entry
	for i := range timeline {
		for len(steps) > 0 && timeline[i].When.at.After(steps[0].When.at) {
			all, steps = append(all, steps[0].entry()), steps[1:]
		}
		all = append(all, timeline[i])
	}
	for i := range steps {
		all = append(all, steps[i].entry())
	}
	return all
}

func (s *stepView) entry() entry {
	return entry{When: s.When, State: "done", Title: "Step " + s.Name + " stored"}
}

// runWords says which worker had the run that ended with an error, and for how long, to a
// sender who may see workers.
func (rq *request) runWords(e *plainjobs.RunError) string {
	switch {
	case e.Worker == "" || !rq.maySee(""): // or it is an error of the store's own
		return ""
	case e.Took == 0: // workers do not store less than a tenth of a second
		return visible("ran on " + e.Worker + ", for less than 0.1 s")
	}
	return visible("ran on " + e.Worker + ", for " + short(e.Took))
}

// steps returns the steps of a job, in the order in which they were stored.
func (h *handler) steps(ctx context.Context, rq *request, j *plainjobs.Info) (views []stepView, err error) {
	steps, err := h.queue.Steps(ctx, j.ID)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	for _, s := range steps {
		v := stepView{Name: visible(s.Name), When: rq.moment(s.At)}
		if name, ok := quoted(s.Name); ok && (j.State.Terminal() || j.State == plainjobs.Scheduled) {
			v.Command = fmt.Sprintf("%s retry %d --from-step %s", h.opts.Program, j.ID, name)
		}
		views = append(views, v)
	}
	return views, err
}

// commands returns commands about a job, to copy.
func (h *handler) commands(j *plainjobs.Info) []command {
	id := strconv.FormatInt(j.ID, 10)
	all := []command{{h.opts.Program + " show " + id, "everything about the job"}}
	switch {
	case j.Dropped:
		return all
	case j.State.Terminal(), j.State == plainjobs.Scheduled:
		all = append(all, command{h.opts.Program + " retry " + id, "run it again now"})
	default:
		all = append(all, command{h.opts.Program + " cancel " + id, "end it"})
	}
	if h.hides(j.Name) || encrypted(j.Payload) {
		return all
	}
	if payload, ok := quoted(cmp.Or(string(j.Payload), "null")); ok {
		if name, ok := quoted(j.Name); ok {
			all = append(all, command{h.opts.Program + " perform " + name + " " + payload, "a new job with the same payload"})
		}
	}
	return all
}

// raw serves the payload or the result of a job as plain text.
func (h *handler) raw(ctx context.Context, w http.ResponseWriter, rq *request) error {
	q := rq.r.URL.Query()
	id, err := jobID(q.Get("id"))
	if err != nil {
		return err
	}
	j, _, err := h.get(ctx, rq, id)
	if err != nil {
		return err
	}
	data := j.Payload
	if q.Get("part") == "result" {
		data = j.Result
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	_, _ = w.Write(data) // an error is the client's
	return nil
}
