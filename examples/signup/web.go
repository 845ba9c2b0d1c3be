package main

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/plainjobs/plainjobs/examples/signup/contacts"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Signup</title>
<style>body { font: 1.1rem/1.5 system-ui; max-width: 30rem; margin: 4rem auto; padding: 0 1rem }</style>
<h1>Signup</h1>
{{with .Message}}<p role="status">{{.}}</p>{{end}}
{{with .Token}}
<form method="post" action="/confirm">
	<input type="hidden" name="token" value="{{.}}">
	<button>Yes, I want to be on the list</button>
</form>
{{else}}
<form method="post" action="/contacts">
	<label>Your address <input type="email" name="email" required autofocus></label>
	<button>Sign up</button>
</form>
<form method="post" action="/resend">
	<label>No mail? <input type="email" name="email" required></label>
	<button>Send it again</button>
</form>
<p>{{.Confirmed}} of {{.All}} have confirmed.</p>
{{end}}
`))

type view struct {
	Message, Token string
	All, Confirmed int
}

// serve runs the web server.
func (a *app) serve(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "open http://%s\n", l.Addr())
	server := &http.Server{
		Handler:           http.NewCrossOriginProtection().Handler(a.handler()),
		ReadHeaderTimeout: 10 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { a.show(w, r, http.StatusOK, view{}) })
	mux.HandleFunc("POST /contacts", func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, a.contacts.Create(r.Context(), r.PostFormValue("email")), "Thank you. A mail is on its way.")
	})
	mux.HandleFunc("POST /resend", func(w http.ResponseWriter, r *http.Request) {
		err := a.contacts.Resend(r.Context(), r.PostFormValue("email"))
		if errors.Is(err, contacts.ErrUnknown) {
			err = nil // do not reveal whether the contact exists
		}
		a.answer(w, r, err, "If you have signed up, a mail is on its way.")
	})
	mux.Handle("/admin/jobs/", a.admin())
	// The link shows a button, because mail scanners follow links.
	mux.HandleFunc("GET /confirm", func(w http.ResponseWriter, r *http.Request) {
		a.show(w, r, http.StatusOK, view{Token: r.URL.Query().Get("token")})
	})
	mux.HandleFunc("POST /confirm", func(w http.ResponseWriter, r *http.Request) {
		contact, err := a.contacts.Confirm(r.Context(), r.PostFormValue("token"))
		a.answer(w, r, err, contact.Email+" is on the list.")
	})
	return mux
}

// answer shows the result of a request.
func (a *app) answer(w http.ResponseWriter, r *http.Request, err error, done string) {
	switch {
	case err == nil:
		a.show(w, r, http.StatusOK, view{Message: done})
	case errors.Is(err, contacts.ErrAddress):
		a.show(w, r, http.StatusBadRequest, view{Message: "This is not a mail address."})
	case errors.Is(err, contacts.ErrUnknown):
		a.show(w, r, http.StatusNotFound, view{Message: "This link is not valid."})
	default:
		slog.Error("signup", "path", r.URL.Path, "error", err)
		a.show(w, r, http.StatusInternalServerError, view{Message: "That did not work. Please try again."})
	}
}

func (a *app) show(w http.ResponseWriter, r *http.Request, status int, v view) {
	var err error
	if v.All, v.Confirmed, err = a.contacts.Count(r.Context()); err != nil {
		slog.Error("signup", "error", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := page.Execute(w, v); err != nil {
		slog.Debug("signup: the client closed the connection", "error", err)
	}
}
