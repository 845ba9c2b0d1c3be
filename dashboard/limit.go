package dashboard

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// limitsPage lists what stops or bounds the jobs of each name.
type limitsPage struct {
	Paused  bool // the whole queue
	Names   []limitRow
	Program string
	Act     *act
}

type limitRow struct {
	Name, Href string
	Paused     bool
	Running    string // of how many
	Full       bool   // the limit is reached
	Rate       string
	Free       moment // when the rate allows the next claim
	PerWorker  string
	Keep       string
	Crashes    string
	Pause      string // a command to copy
	Act        *act
	Change     string // the URL of the form that changes the limits
	Set        string // what people set, in words, and who did
	Differ     bool   // workers define different limits
}

func (h *handler) limits(ctx context.Context, rq *request, _ url.Values) (any, error) {
	names, err := h.queue.Names(ctx)
	if err != nil {
		return nil, err
	}
	p := &limitsPage{Program: h.opts.Program}
	for i := range names {
		n := &names[i]
		switch {
		case n.Name == "":
			p.Paused = n.Paused
		case rq.maySee(n.Name):
			p.Names = append(p.Names, h.limitOf(rq, n))
		}
	}
	p.Act = rq.pause("", p.Paused)
	return p, nil
}

// pause returns the form that pauses or resumes a name, or all names, or nil if the sender
// may not.
func (rq *request) pause(name string, paused bool) *act {
	if !rq.may(Pause, name) {
		return nil
	}
	a := &act{button: button{Do: "pause", Label: "Pause"}, Form: url.Values{"back": {"limits"}}}
	if paused {
		a.Do, a.Label = "resume", "Resume"
	}
	if name == "" {
		a.Label += " all jobs"
		a.Form.Set("all", "yes")
		return a
	}
	a.Title = a.Label + " " + visible(name)
	a.Form.Set("name", name)
	return a
}

func (h *handler) limitOf(rq *request, n *plainjobs.NameInfo) limitRow {
	r := limitRow{
		Name: visible(n.Name), Href: jobsHref(ofName(n.Name)), Paused: n.Paused, Running: grouped(n.Running),
		Free: rq.ago(n.Free), Keep: retention(n.History),
	}
	if n.MaxRunning > 0 {
		r.Running = fmt.Sprintf("%s of %s", grouped(n.Running), grouped(int64(n.MaxRunning)))
		r.Full = n.Running >= int64(n.MaxRunning)
	}
	if n.Rate > 0 {
		r.Rate = fmt.Sprintf("%s in %s", grouped(int64(n.Rate)), period(n.Per))
	}
	switch d := engine.Lookup(n.Name); {
	case n.Override.Concurrency > 0:
		r.PerWorker = fmt.Sprint(n.Override.Concurrency)
	case n.Override.Concurrency == 0 && d != nil && d.Concurrency > 0:
		r.PerWorker = fmt.Sprint(d.Concurrency)
	}
	if r.Differ = n.Differ; !n.Override.Zero() {
		r.Set = visible(engine.OverrideText(n.Override) + ", set by " + n.Override.By)
	}
	if rq.may(Limit, n.Name) {
		r.Change = "limit?" + url.Values{"name": {n.Name}}.Encode()
	}
	switch {
	case n.MaxCrashes > 0:
		r.Crashes = plural(int64(n.MaxCrashes), "crash")
		if n.MaxCrashes > 1 {
			r.Crashes = fmt.Sprintf("%d crashes", n.MaxCrashes)
		}
	case n.MaxCrashes < 0:
		r.Crashes = "any number"
	}
	r.Act = rq.pause(n.Name, n.Paused)
	verb := "pause"
	if n.Paused {
		verb = "resume"
	}
	if word, ok := quoted(n.Name); ok {
		r.Pause = h.opts.Program + " " + verb + " " + word
	}
	return r
}

// retention describes how long finished jobs of a name are kept, if it differs from the
// store's.
func retention(k backend.History) string {
	var parts []string
	if k.Done < 0 {
		parts = append(parts, "done: not at all")
	} else if k.Done > 0 {
		parts = append(parts, "done: "+period(k.Done))
	}
	if k.Failed > 0 {
		parts = append(parts, "failed: "+period(k.Failed))
	} else if k.Failed < 0 {
		parts = append(parts, "failed: not at all")
	}
	switch {
	case k.DropDone && k.DropFailed:
		parts = append(parts, "no payloads")
	case k.DropDone:
		parts = append(parts, "no payloads of done jobs")
	case k.DropFailed:
		parts = append(parts, "no payloads of failed jobs")
	}
	if k.Rows > 0 {
		parts = append(parts, "at most "+plural(int64(k.Rows), "job"))
	}
	return strings.Join(parts, ", ")
}

// period returns a duration that someone has chosen, for example "1 minute".
func period(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d >= u.of && d%u.of == 0 {
			return plural(int64(d/u.of), u.name)
		}
	}
	return d.String()
}
