package main

import (
	"crypto/subtle"
	"net/http"

	"github.com/plainjobs/plainjobs/dashboard"
)

// admin serves the dashboard of the queue to those who log in as admin. Without a
// password in $SIGNUP_ADMIN_PASSWORD there is no login.
func (a *app) admin() http.Handler {
	pages := dashboard.Handler(a.contacts.Queue, &dashboard.Options{
		Program: "signup",
		Authorize: func(r *http.Request, _ dashboard.Action, _ string) dashboard.Role {
			if a.isAdmin(r) {
				return dashboard.Full
			}
			return dashboard.None
		},
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.isAdmin(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="signup"`)
			http.Error(w, "Log in as admin.", http.StatusUnauthorized)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

func (a *app) isAdmin(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	return a.adminPassword != "" && user == "admin" && subtle.ConstantTimeCompare([]byte(password), []byte(a.adminPassword)) == 1
}
