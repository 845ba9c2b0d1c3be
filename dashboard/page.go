package dashboard

import (
	"context"
	"html/template"
	"io"
	"net/url"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A page is one of the pages, and how to read what it shows.
type page struct {
	name, title string
	file        string                       // of its template
	menu        bool                         // it is in the navigation
	offered     func(b backend.Backend) bool // nil is always
	data        func(h *handler, ctx context.Context, rq *request, query url.Values) (any, error)
}

// allPages are in the order of the navigation.
var allPages = []*page{
	{name: "", title: "Overview", file: "overview", menu: true, data: (*handler).overview},
	{name: "jobs", title: "Jobs", file: "jobs", menu: true, data: (*handler).jobs},
	{name: "job", title: "Job", file: "job", data: (*handler).job},
	{name: "again", title: "Perform again", file: "again", data: (*handler).again},
	{name: "change", title: "Change many jobs", file: "change", offered: has[backend.Operator], data: (*handler).change},
	{name: "action", title: "Action", file: "action", offered: has[backend.Operator], data: (*handler).actionPage},
	{name: "groups", title: "Groups", file: "groups", menu: true, offered: has[backend.GateStore], data: (*handler).groups},
	{name: "group", title: "Group", file: "group", offered: has[backend.GateStore], data: (*handler).group},
	{name: "schedules", title: "Schedules", file: "schedules", menu: true, offered: has[backend.Scheduler], data: (*handler).schedules},
	{name: "workers", title: "Workers", file: "workers", menu: true, data: (*handler).workers},
	{name: "limits", title: "Pauses and limits", file: "limits", menu: true, offered: has[backend.SettingsStore], data: (*handler).limits},
	{name: "limit", title: "Limits", file: "limit", offered: has[backend.SettingsStore], data: (*handler).bound},
	{name: "actions", title: "Actions", file: "actions", menu: true, data: (*handler).actionsPage},
}

func has[T any](b backend.Backend) bool {
	_, ok := b.(T)
	return ok
}

// templates are by file. Each has "layout", the whole page, and "live", what updates.
func templates() map[string]*template.Template {
	once.templates.Do(func() { once.templatesByFile = loadTemplates() })
	return once.templatesByFile
}

func loadTemplates() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(template.FuncMap{
		"asset": assetURL, "grouped": grouped, "plural": plural, "visible": visible,
	}).ParseFS(files, "template/layout.html", "template/part.html", "template/activity.html"))
	all := map[string]*template.Template{}
	for _, file := range []string{"overview", "jobs", "job", "groups", "group", "schedules", "workers", "limits", "problem", "again", "confirm", "change", "action", "actions", "limit"} {
		all[file] = template.Must(template.Must(base.Clone()).ParseFS(files, "template/"+file+".html"))
	}
	return all
}

// A layout is what every page shows around its own data.
type layout struct {
	Title, Page string
	Nav         []navItem
	Store       string
	Now         string
	Refresh     int    // in seconds, or zero
	Follow      int    // the same for a browser without JavaScript
	Live        bool   // it has updates
	Message     string // what the last action of the sender did
	Data        any
}

type navItem struct {
	Href, Title string
	Here        bool
}

func (h *handler) layout(p *page, now time.Time) *layout {
	l := &layout{Title: p.title, Page: p.name, Store: visible(h.store), Now: now.UTC().Format(time.RFC3339Nano)}
	for _, other := range h.pages {
		if !other.menu {
			continue
		}
		href := other.name
		if href == "" {
			href = "./"
		}
		here := other == p || other.name == "jobs" && (p.name == "job" || p.name == "again" || p.name == "change") || other.name == "actions" && p.name == "action" || other.name == "groups" && p.name == "group" || other.name == "limits" && p.name == "limit"
		l.Nav = append(l.Nav, navItem{Href: href, Title: other.title, Here: here})
	}
	return l
}

// render writes a page, or a template of it.
func (h *handler) render(ctx context.Context, w io.Writer, rq *request, p *page, query url.Values, name string) error {
	data, err := p.data(h, ctx, rq, query)
	if err != nil {
		return err
	}
	l := h.layout(p, rq.now)
	if titled, ok := data.(interface{ title() string }); ok {
		l.Title = titled.title()
	}
	if a, ok := data.(*actionRow); ok && a.State == "running" {
		l.Follow = 2
	}
	l.Data, l.Live, l.Message = data, p.name != "again" && p.name != "change" && p.name != "limit", h.message(ctx, rq, query.Get("did"))
	return templates()[p.file].ExecuteTemplate(w, name, l)
}
