package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/examples/signup/contacts"
)

// The dashboard is behind the login, and without a password there is none.
func TestAdmin(t *testing.T) {
	queue := plainjobs.New(memory.New(nil), nil)
	defer queue.Close()
	for _, test := range []struct {
		password, user, given string
		status                int
	}{
		{"secret", "admin", "secret", 200}, {"secret", "admin", "wrong", 401}, {"secret", "root", "secret", 401}, {"secret", "", "", 401},
		{"", "admin", "", 401},
	} {
		a := &app{adminPassword: test.password, contacts: &contacts.Service{Queue: queue}}
		r := httptest.NewRequest(http.MethodGet, "/admin/jobs/", nil)
		if test.user != "" {
			r.SetBasicAuth(test.user, test.given)
		}
		rec := httptest.NewRecorder()
		if a.handler().ServeHTTP(rec, r); rec.Code != test.status {
			t.Errorf("%+v: status %d", test, rec.Code)
		}
	}
}
