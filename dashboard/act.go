package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// formBytes is the size of the largest form without a payload.
const formBytes = 64 << 10

// A deed is what a form asks for.
type deed struct {
	h  *handler
	rq *request
	// form has the fields of the form, and those in its field "with", which are encoded as
	// in a URL: a browser changes line breaks and hides characters in other fields.
	form url.Values
	back string // the page to show afterwards
}

// act does what a form asks for, and shows the page that the form names.
func (h *handler) act(w http.ResponseWriter, r *http.Request) error {
	rq := h.request(r)
	if err := h.admit(rq, "act"); err != nil {
		return err
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return &problem{status: http.StatusUnsupportedMediaType, title: "Nothing was changed", hold: true, text: "This is not a form of the dashboard."}
	}
	// An escaped byte takes three.
	r.Body = http.MaxBytesReader(w, r.Body, formBytes+3*int64((*engine.Handle)(h.queue).Queue().MaxPayload))
	if err := r.ParseForm(); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return &problem{status: http.StatusRequestEntityTooLarge, title: "Nothing was changed", hold: true, text: "The form is larger than the largest payload of this queue."}
		}
		return &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: "The form cannot be read."}
	}
	d := &deed{h: h, rq: rq, form: r.PostForm}
	if err := d.unfold(); err != nil {
		return err
	}
	d.back = h.local(d.form.Get("back"))
	ctx, cancel := context.WithTimeout(r.Context(), readWait)
	defer cancel()
	do, found := deeds()[d.form.Get("do")]
	if !found {
		return &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: fmt.Sprintf("There is no action %q.", d.form.Get("do"))}
	}
	if err := do(d, ctx, w); err != nil {
		return unsure(err, d.back)
	}
	return nil
}

// unfold adds the fields in the field "with" to the form.
func (d *deed) unfold() error {
	more, err := url.ParseQuery(d.form.Get("with"))
	if err != nil {
		return &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: "The form cannot be read."}
	}
	d.form.Del("with")
	for name, values := range more {
		if !d.form.Has(name) {
			d.form[name] = values
		}
	}
	return nil
}

// deeds are by the value of a form's field do.
func deeds() map[string]func(d *deed, ctx context.Context, w http.ResponseWriter) error {
	return map[string]func(d *deed, ctx context.Context, w http.ResponseWriter) error{
		string(Retry): (*deed).operate, string(RunNow): (*deed).operate, string(Cancel): (*deed).operate,
		string(Delete): (*deed).operate, string(Prioritize): (*deed).operate, string(FreeKey): (*deed).operate,
		"sweep": (*deed).sweep, "stop": (*deed).stop,
		"limit": (*deed).limit, "pause": (*deed).pauseName, "resume": (*deed).pauseName,
		"pause-schedule": (*deed).pauseSchedule, "resume-schedule": (*deed).pauseSchedule, "run-schedule": (*deed).runSchedule,
		"pause-group": (*deed).pauseGroup, "resume-group": (*deed).pauseGroup, string(Duplicate): (*deed).duplicate,
	}
}

// local returns the URL of one of the pages, or the overview's if back is anything else.
func (h *handler) local(back string) string {
	u, err := url.Parse(back)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || strings.ContainsAny(u.Path, `/\`) || h.pageNamed(u.Path) == nil {
		return "./"
	}
	q := u.Query()
	q.Del("did")
	return (&url.URL{Path: cmp.Or(u.Path, "./"), RawQuery: q.Encode()}).String()
}

// end records what was done, and sends the browser to a page that says so.
func (d *deed) end(ctx context.Context, w http.ResponseWriter, a plainjobs.Action) error {
	a.End = cmp.Or(a.End, done)
	stored, err := d.h.record(ctx, d.h.who(d.rq.r), a)
	if err != nil {
		return &problem{status: http.StatusServiceUnavailable, title: "It is done", hold: true,
			text: strings.TrimSuffix(sentence(&a), ".") + ". But the store could not record it: " + err.Error()}
	}
	page, query, _ := strings.Cut(d.back, "?")
	q, _ := url.ParseQuery(query) // local has encoded it
	q.Set("did", strconv.FormatInt(stored.ID, 10))
	// The path that http.Redirect would make of it lacks what http.StripPrefix removed.
	w.Header().Set("Location", page+"?"+q.Encode())
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// refused is the answer to a sender who may see something and not change it.
func refused(a Action, name string) error {
	on := "the whole queue"
	if name != "" {
		on = "jobs named " + name
	}
	return &problem{status: http.StatusForbidden, title: "You may not do this", hold: true, text: fmt.Sprintf("Your role does not include the action %q on %s. Nothing was changed.", a, on)}
}

// ids returns the jobs that the form selects.
func (d *deed) ids() ([]int64, error) {
	var ids []int64
	for _, text := range d.form["id"] {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			return nil, &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: fmt.Sprintf("%q is not a job's ID.", text)}
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 || len(ids) > selectedMost {
		return nil, &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true,
			text: fmt.Sprintf("Select 1 to %d jobs first; the form has %d.", selectedMost, len(ids))}
	}
	return ids, nil
}

// selectedMost is the largest number of jobs that a form may select one by one.
const selectedMost = 1000

// operate applies a verb to the selected jobs.
func (d *deed) operate(ctx context.Context, w http.ResponseWriter) error {
	v := verbOf(Action(d.form.Get("do")))
	ids, err := d.ids()
	if err != nil {
		return err
	}
	priority, err := d.priority(v)
	if err != nil {
		return err
	}
	jobs, _, err := d.h.queue.List(ctx, plainjobs.Filter{IDs: ids}, 0, selectedMost)
	if err != nil {
		return err
	}
	var right []int64
	var denied, other *plainjobs.Info
	seen := 0
	for i := range jobs {
		switch j := &jobs[i]; {
		case !d.rq.maySee(j.Name):
		case !d.rq.may(v.action, j.Name):
			seen++
			denied = j
		case !v.takes(j):
			seen++
			other = j
		default:
			seen++
			right = append(right, j.ID)
		}
	}
	switch {
	case seen == 0 && len(ids) == 1:
		return noJob(ids[0])
	case len(right) == 0 && denied != nil:
		return refused(v.action, denied.Name)
	case len(right) > 0 && v.grave && d.form.Get("sure") == "":
		return d.confirm(w, v, right)
	}
	r := plainjobs.Action{What: string(v.action), On: idList(ids), Total: int64(len(ids))}
	if len(right) > 0 {
		n, err := v.apply(d.h.queue, ctx, plainjobs.Filter{IDs: right}, priority)
		if err != nil && !leavesSome(err) {
			return d.failed(ctx, r, err)
		}
		r.Jobs = int64(n)
		if err != nil {
			r.End = strings.TrimPrefix(err.Error(), "plainjobs: ")
		}
	} else if other != nil {
		switch r.End = fmt.Sprintf("job #%d is %v", other.ID, other.State); {
		case v.keyed:
			r.End += " and keeps no key"
		case v.action == Retry && other.Dropped:
			r.End += " and has no payload any more"
		}
	}
	return d.end(ctx, w, r)
}

// leavesSome reports whether the error of a retry is that some jobs stay as they are.
func leavesSome(err error) bool {
	return errors.Is(err, plainjobs.ErrDuplicate) || errors.Is(err, plainjobs.ErrDropped)
}

// priority returns the priority in the form, or nil if there is none.
func (d *deed) priority(v *verb) (*int16, error) {
	text := d.form.Get("priority")
	if text == "" && v.action != Prioritize || v.action != Prioritize && v.action != Retry {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 16)
	if err != nil {
		return nil, &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: fmt.Sprintf("%q is not a priority. A priority is a number from -32768 to 32767.", text)}
	}
	p := int16(n)
	return &p, nil
}

// apply applies the verb to the jobs of a filter.
func (v *verb) apply(q *plainjobs.Queue, ctx context.Context, f plainjobs.Filter, priority *int16) (int, error) {
	switch v.action {
	case Cancel:
		return q.Cancel(ctx, f)
	case Delete:
		return q.Delete(ctx, f)
	case FreeKey:
		return q.FreeKeys(ctx, f)
	case Prioritize:
		return q.Prioritize(ctx, f, *priority)
	case RunNow:
		f.States = []plainjobs.State{plainjobs.Scheduled}
	}
	if priority != nil {
		return q.Retry(ctx, f, plainjobs.Priority(*priority))
	}
	return q.Retry(ctx, f)
}

// idList names jobs, the first few by their IDs.
func idList(ids []int64) string {
	const most = 5
	var words []string
	for _, id := range ids[:min(len(ids), most)] {
		words = append(words, fmt.Sprintf("#%d", id))
	}
	if more := len(ids) - most; more > 0 {
		words = append(words, grouped(int64(more))+" more")
	}
	noun := "job "
	if len(ids) > 1 {
		noun = "jobs "
	}
	return noun + joined(words)
}

// pauseName pauses or resumes a name, or all names.
func (d *deed) pauseName(ctx context.Context, w http.ResponseWriter) error {
	name, pause := d.form.Get("name"), d.form.Get("do") == "pause"
	all := d.form.Get("all") != ""
	switch {
	case all == (name != ""):
		return &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: "Give one name, or all."}
	case !d.rq.maySee(name):
		return hiddenName(name)
	case !d.rq.may(Pause, name):
		return refused(Pause, name)
	case all && pause && d.form.Get("sure") == "":
		return d.ask(w, "Pause all jobs?", "Workers start no job of any name until the queue is resumed. Running jobs continue.", "Pause all jobs")
	}
	r := plainjobs.Action{What: d.form.Get("do"), On: "all jobs"}
	if !all {
		r.On = "jobs named " + name
	}
	err := d.h.queue.Resume(ctx, name)
	if pause {
		err = d.h.queue.Pause(ctx, name)
	}
	return d.ended(ctx, w, r, err)
}

// ended records an action that changes no jobs, and its error.
func (d *deed) ended(ctx context.Context, w http.ResponseWriter, r plainjobs.Action, err error) error {
	if err != nil {
		return d.failed(ctx, r, err)
	}
	return d.end(ctx, w, r)
}

// failed records an action that failed.
func (d *deed) failed(ctx context.Context, a plainjobs.Action, err error) error {
	a.End = "failed: " + err.Error()
	_, _ = d.h.record(ctx, d.h.who(d.rq.r), a) // the log has it in any case
	return err
}

// scheduled returns the name of the job of a schedule that the sender may see, and whether this
// program can make the job.
func (d *deed) scheduled(ctx context.Context, name string) (job string, makes bool, err error) {
	none := &problem{status: http.StatusNotFound, title: "There is no such schedule", hold: true, text: fmt.Sprintf("No worker has stored a schedule named %q.", visible(name))}
	if s := (*engine.Handle)(d.h.queue).Queue().Schedule(name); s != nil {
		job, makes = s.Job.Name, true
	} else {
		store, err := engine.Capability[backend.Scheduler](d.h.backend)
		if err != nil {
			return "", false, err
		}
		if job, err = storedJob(ctx, store, name); err != nil {
			return "", false, err
		}
		if makes = job != ""; !makes {
			stored, err := store.Schedules(ctx)
			if err != nil {
				return "", false, err
			}
			i := slices.IndexFunc(stored.Schedules, func(s backend.Schedule) bool { return s.Name == name })
			if i < 0 {
				return "", false, none
			}
			_, job, _ = engine.TimingOf(stored.Schedules[i].Definition)
		}
	}
	if !d.rq.maySee(job) {
		return "", false, none
	}
	return job, makes, nil
}

func (d *deed) pauseSchedule(ctx context.Context, w http.ResponseWriter) error {
	name := d.form.Get("name")
	job, _, err := d.scheduled(ctx, name)
	switch {
	case err != nil:
		return err
	case !d.rq.may(Pause, job):
		return refused(Pause, job)
	}
	err = d.h.queue.PauseSchedule(ctx, name, d.form.Get("do") == "pause-schedule")
	return d.ended(ctx, w, plainjobs.Action{What: d.form.Get("do"), On: "schedule " + name}, err)
}

// runSchedule stores the job of a schedule at once.
func (d *deed) runSchedule(ctx context.Context, w http.ResponseWriter) error {
	name := d.form.Get("name")
	job, makes, err := d.scheduled(ctx, name)
	switch {
	case err != nil:
		return err
	case !d.rq.may(RunNow, job):
		return refused(RunNow, job)
	}
	if !makes {
		return &problem{status: http.StatusConflict, title: "Nothing was changed", hold: true,
			text: fmt.Sprintf("Only a program that defines schedule %q can make its job, and this one does not.", visible(name))}
	}
	r := plainjobs.Action{What: "run-schedule", On: "schedule " + name}
	id, err := d.h.queue.RunSchedule(ctx, name)
	switch {
	case errors.Is(err, plainjobs.ErrDuplicate):
		r.End = fmt.Sprintf("job #%d has its unique key", id)
		err = nil
	case err == nil:
		r.Jobs, r.On = 1, fmt.Sprintf("schedule %s as job #%d", name, id)
		d.back = jobHref(id)
	}
	return d.ended(ctx, w, r, err)
}
