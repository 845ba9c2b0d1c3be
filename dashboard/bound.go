package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// boundPage changes the limits of a name.
type boundPage struct {
	Name    string
	Running boundField
	Rate    boundField
	Periods []option
	Worker  boundField
	Applies string // in words
	Defined string // what would apply without the change, in words
	By      string // who changed the limits, or empty
	At      moment
	With    string
}

// A boundField is a field of the form.
type boundField struct{ Value string }

func (p *boundPage) title() string { return "Limits of " + p.Name }

// periods are the spans of time for a rate.
var periods = []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}

func (h *handler) bound(ctx context.Context, rq *request, query url.Values) (any, error) {
	n, err := h.boundOf(ctx, rq, query.Get("name"))
	if err != nil {
		return nil, err
	}
	o := n.Override
	p := &boundPage{
		Name: visible(n.Name), Running: field(o.MaxRunning), Rate: field(o.Rate), Worker: field(o.Concurrency),
		Applies: engine.OverrideText(backend.Override{Settings: n.Settings, Concurrency: o.Concurrency}), Defined: engine.SettingsText(n.Defined),
		With: url.Values{"name": {n.Name}, "back": {"limits"}}.Encode(),
	}
	per := o.Per
	if per == 0 {
		per = time.Minute
	}
	known := false
	for _, d := range periods {
		p.Periods = append(p.Periods, option{d.String(), strings.TrimPrefix(period(d), "1 "), d == per})
		known = known || d == per
	}
	if !known {
		p.Periods = append(p.Periods, option{per.String(), period(per), true})
	}
	if !o.Zero() {
		p.By, p.At = visible(o.By), rq.ago(o.At)
	}
	return p, nil
}

// boundOf returns what the store knows of a name whose limits the sender may change.
func (h *handler) boundOf(ctx context.Context, rq *request, name string) (n plainjobs.NameInfo, err error) {
	switch {
	case name == "":
		return n, &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: "Give the name of a job."}
	case !rq.maySee(name):
		return n, hiddenName(name)
	case !rq.may(Limit, name):
		return n, refused(Limit, name)
	}
	names, err := h.queue.Names(ctx)
	n.Name = name
	for i := range names {
		if names[i].Name == name {
			return names[i], err
		}
	}
	return n, err
}

// field returns what the form shows of a limit that people set.
func field(n int) boundField {
	switch {
	case n < 0:
		return boundField{"none"}
	case n > 0:
		return boundField{strconv.Itoa(n)}
	}
	return boundField{}
}

// number parses a limit in the form: none, a number, or nothing, which is as the program
// says.
func (d *deed) number(name, what string) (int, error) {
	text := strings.TrimSpace(d.form.Get(name))
	switch text {
	case "":
		return 0, nil
	case "none":
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true,
			text: fmt.Sprintf("%s: %q is not a limit. Write a number from 1, none to lift the limit, or nothing for what the program says.", what, visible(text))}
	}
	return n, nil
}

// limit changes the limits of a name. What people set with the command limit and the form
// does not have stays.
func (d *deed) limit(ctx context.Context, w http.ResponseWriter) error {
	n, err := d.h.boundOf(ctx, d.rq, d.form.Get("name"))
	if err != nil {
		return err
	}
	setter, err := engine.Capability[backend.SettingsStore](d.h.backend)
	if err != nil {
		return err
	}
	o := n.Override
	o.Name, o.By = n.Name, d.h.who(d.rq.r)
	for _, f := range []struct {
		name, what string
		to         *int
	}{{"running", "Running at once", &o.MaxRunning}, {"rate", "Rate", &o.Rate}, {"worker", "In each worker", &o.Concurrency}} {
		if *f.to, err = d.number(f.name, f.what); err != nil {
			return err
		}
	}
	if o.Per = 0; o.Rate > 0 {
		if o.Per, err = time.ParseDuration(d.form.Get("per")); err != nil || o.Per <= 0 {
			return &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: fmt.Sprintf("%q is no span of time for a rate.", visible(d.form.Get("per")))}
		}
	}
	r := plainjobs.Action{What: "override", On: o.Name + ": " + engine.OverrideText(o)}
	if err := setter.Override(ctx, o, true); errors.Is(err, backend.ErrInvalid) {
		return &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: visible(err.Error()) + "."}
	} else if err != nil {
		return d.failed(ctx, r, err)
	}
	return d.end(ctx, w, r)
}
