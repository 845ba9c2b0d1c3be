package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/doctor"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// readWait is how long a page waits for the store.
const readWait = 5 * time.Second

// A handler serves the pages of a queue.
type handler struct {
	queue    *plainjobs.Queue
	backend  backend.Backend
	opts     Options
	store    string // its name
	pages    []*page
	hub      hub
	checkup  checkup
	recorder recorder
	crew     reading[[]plainjobs.Worker]
	running  reading[runningJobs]
	names    reading[[]plainjobs.NameInfo]
	failures failures
	ledger   ledger
	sweeps   sweeps
}

func newHandler(queue *plainjobs.Queue, opts *Options) *handler {
	h := &handler{queue: queue, backend: (*engine.Handle)(queue).Queue().Backend, store: doctor.Describe(queue)}
	if opts != nil {
		h.opts = *opts
	}
	if h.opts.Program == "" {
		h.opts.Program = "app"
	}
	h.hub.render = h.renderLive
	h.checkup.queue = queue
	h.crew.read, h.running.read, h.names.read = queue.Workers, h.readRunning, h.namesOf
	for _, p := range allPages {
		if p.offered == nil || p.offered(h.backend) {
			h.pages = append(h.pages, p)
		}
	}
	return h
}

// ServeHTTP implements [http.Handler]. The last segment of the path is the page, so links
// are relative under any prefix.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v)
		}
		slog.Error("plainjobs: dashboard: a page panicked", "page", path.Base(r.URL.Path), "panic", v)
		h.fail(w, r, &problem{status: http.StatusInternalServerError, title: "This page has a bug", text: "The program's log has the details."})
	}()
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	allowed := "GET, HEAD"
	if name == "act" {
		allowed = "POST"
	}
	if !strings.Contains(allowed, r.Method) {
		w.Header().Set("Allow", allowed)
		h.fail(w, r, &problem{status: http.StatusMethodNotAllowed, title: "Nothing was changed", hold: true, text: "This address takes " + allowed + "."})
		return
	}
	if r.URL.Path == "" { // the prefix without its slash
		given, _, _ := strings.Cut(r.RequestURI, "?")
		http.Redirect(w, r, "./"+url.PathEscape(path.Base(given))+"/", http.StatusMovedPermanently)
		return
	}
	if a := assets()[name]; a != nil {
		a.serve(w, r)
		return
	}
	serve := h.serve
	if name == "act" {
		serve = func(w http.ResponseWriter, r *http.Request, _ string) error { return h.act(w, r) }
	}
	if err := serve(w, r, name); err != nil {
		h.fail(w, r, problemOf(err))
	}
}

// admit returns an error unless the sender may see a page.
func (h *handler) admit(rq *request, name string) error {
	if h.opts.Authorize == nil {
		return &problem{status: http.StatusForbidden, title: "This dashboard is closed", hold: true,
			text: "The program has not set Options.Authorize of the dashboard, which decides who may see it."}
	}
	if rq.maySee("") {
		return nil
	}
	some, err := rq.maySeeSome(name)
	if err == nil && !some {
		return &problem{status: http.StatusForbidden, title: "You may not see this page", hold: true,
			text: "Log in to the program that serves this dashboard as a user who may, then reload the page."}
	}
	return err
}

// serve serves a page, an update stream or a text.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, name string) error {
	rq := h.request(r)
	if err := h.admit(rq, name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readWait)
	defer cancel()
	switch name {
	case "events":
		return h.hub.serve(w, r)
	case "raw":
		return h.raw(ctx, w, rq)
	}
	p := h.pageNamed(name)
	if p == nil {
		return &problem{status: http.StatusNotFound, title: "There is no such page", hold: true, text: "The address is wrong, or this store does not have what the page shows."}
	}
	var b bytes.Buffer
	if err := h.render(ctx, &b, rq, p, r.URL.Query(), "layout"); err != nil {
		return err
	}
	return writePage(w, http.StatusOK, &b)
}

// writePage sends a page.
func writePage(w http.ResponseWriter, status int, b *bytes.Buffer) error {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error is the client's
	return nil
}

// setHeaders sets the headers of every response.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func (h *handler) pageNamed(name string) *page {
	for _, p := range h.pages {
		if p.name == name {
			return p
		}
	}
	return nil
}

// A problem is an error that a page shows.
type problem struct {
	status      int
	title, text string
	hold        bool   // trying again does not help, or must not happen by itself
	back        string // the page to go back to, or empty
}

func (p *problem) Error() string { return p.title + ": " + p.text }

// problemOf returns what a page shows of an error of the store.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	p := &problem{status: http.StatusServiceUnavailable, title: "The store does not answer", text: fmt.Sprintf("%v.", strings.TrimPrefix(err.Error(), "plainjobs: "))}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		p.status, p.hold, p.title = http.StatusNotImplemented, true, "This store cannot show that"
	case errors.Is(err, context.DeadlineExceeded):
		p.text = fmt.Sprintf("It has not answered for %v. The command doctor finds out why.", readWait)
	case errors.Is(err, backend.ErrClosed):
		p.title = "The queue is closed"
		p.text += " The program serves this page again when it has started again."
	case errors.Is(err, backend.ErrNoSpace):
		p.title = "The disk is full"
	case errors.Is(err, backend.ErrCorrupt):
		p.title = "The database is damaged"
		p.text += " The command doctor examines it."
	}
	return p
}

// unsure returns what a page shows of the error of an action. A browser must not repeat
// the action by itself.
func unsure(err error, back string) *problem {
	p := *problemOf(err)
	if !p.hold {
		p.hold = true
		p.text += " Nothing was changed, unless the connection broke at the end: look at the page before you try again."
	}
	p.back = back
	return &p
}

// fail serves an error page. Unless the problem stays, the page loads itself again.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, p *problem) {
	var b bytes.Buffer
	l := h.layout(&page{title: p.title}, time.Now())
	if p.status == http.StatusForbidden {
		l.Nav, l.Store = nil, ""
	}
	l.Data = map[string]any{"Title": p.title, "Text": visible(p.text), "Again": !p.hold, "Back": p.back}
	if !p.hold {
		l.Refresh = 5
		w.Header().Set("Retry-After", "5")
	}
	if err := templates()["problem"].ExecuteTemplate(&b, "layout", l); err != nil {
		http.Error(w, p.title, p.status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // an error is the client's
	}
}
