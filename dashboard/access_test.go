package dashboard

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/plainjobs/plainjobs"
)

// Without Authorize nothing is shown.
func TestClosedByDefault(t *testing.T) {
	for _, opts := range []*Options{{}, {Authorize: func(*http.Request, Action, string) Role { return None }}} {
		w := newWorld(t, newStore(t), opts)
		for _, path := range []string{"/", "/jobs", "/job?id=2", "/raw?id=2", "/workers", "/schedules", "/limits", "/events?page=", "/nothing"} {
			lacks(t, w.get(t, http.StatusForbidden, path), "invoice", "mill", "memory")
		}
	}
}

// A sender who may see some names sees only these, and no page about the whole queue.
func TestNames(t *testing.T) {
	w := newWorld(t, newStore(t), &Options{Authorize: func(_ *http.Request, _ Action, name string) Role {
		if name == "invoice" {
			return Read
		}
		return None
	}})
	for _, path := range []string{"/", "/jobs", "/jobs?payload=a", "/jobs?state=failed", "/job?id=2"} {
		page := w.get(t, http.StatusOK, path)
		contains(t, page, "invoice")
		lacks(t, page, "welcome", "import", "4711", "What is wrong")
	}
	w.get(t, http.StatusForbidden, "/jobs?name=welcome")
	w.get(t, http.StatusNotFound, "/job?id=6")
	w.get(t, http.StatusNotFound, "/raw?id=6")
	for _, path := range []string{"/workers", "/schedules", "/limits", "/events?page=workers"} {
		w.get(t, http.StatusForbidden, path)
	}
}

// What Redact removes is on no page, and no search finds it.
func TestRedact(t *testing.T) {
	w := newWorld(t, newStore(t), &Options{Authorize: everyone, Redact: func(j *plainjobs.Info) {
		if j.Payload != nil {
			j.Payload = json.RawMessage(`{"to":"…"}`)
		}
		for i := range j.Errors {
			j.Errors[i].Error = strings.ReplaceAll(j.Errors[i].Error, "10.0.0.1", "HOST")
		}
		if j.SerialKey != "" {
			j.SerialKey = "KEY"
		}
		if j.UniqueKey != "" {
			j.UniqueKey = "KEY"
		}
		j.Metadata = nil
	}})
	for _, path := range []string{"/", "/jobs", "/jobs?state=failed", "/job?id=2", "/job?id=5", "/job?id=7", "/raw?id=2&part=payload", "/workers"} {
		lacks(t, w.get(t, http.StatusOK, path), "example.com", "10.0.0.1", "abc", "&#34;k&#34;")
	}
	for _, path := range []string{"/jobs?payload=ada", "/jobs?error=10.0.0.1", "/jobs?key=k", "/jobs?key=d@example.com"} {
		lacks(t, w.get(t, http.StatusOK, path), `href="job?id=`)
	}
	contains(t, w.get(t, http.StatusOK, "/jobs?error=timeout"), `href="job?id=2"`)
}

// No method changes anything, and a cross-origin one is refused before it is looked at.
func TestMethods(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	for _, kind := range []string{"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/json", ""} {
		for origin, status := range map[string]int{"": 405, "http://example.com": 405, "http://evil.example": 403, "null": 403} {
			r := httptest.NewRequest(http.MethodPost, "http://example.com/job?id=2", strings.NewReader("x=1"))
			r.Header.Set("Content-Type", kind)
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			if rec.Code != status {
				t.Errorf("POST of %q from %q: status %d, want %d", kind, origin, rec.Code, status)
			}
		}
	}
	r := httptest.NewRequest(http.MethodHead, "/jobs", nil)
	rec := httptest.NewRecorder()
	if w.ServeHTTP(rec, r); rec.Code != http.StatusOK {
		t.Errorf("HEAD: status %d", rec.Code)
	}
}

func TestLoopback(t *testing.T) {
	for _, test := range []struct {
		peer, host string
		want       Role
	}{
		{"127.0.0.1:5", "localhost:80", Full},
		{"127.0.0.1:5", "127.0.0.1:80", Full},
		{"[::1]:5", "[::1]:80", Full},
		{"[::ffff:127.0.0.1]:5", "localhost", Full},
		{"[::1]:5", "[::1]", Full},
		{"127.0.0.1:5", "rebound.example:80", None},
		{"127.0.0.1:5", "", None},
		{"10.0.0.1:5", "localhost:80", None},
		{"@", "localhost", None},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host = test.peer, test.host
		if got := Loopback(r, View, ""); got != test.want {
			t.Errorf("from %s to %s: role %d, want %d", test.peer, test.host, got, test.want)
		}
	}
}

// An update stream ends when its sender may not see the page any more.
func TestRoleChanges(t *testing.T) {
	var closed atomic.Bool
	w := newWorld(t, newStore(t), &Options{Authorize: func(*http.Request, Action, string) Role {
		if closed.Load() {
			return None
		}
		return Read
	}})
	events := w.listen(t, "/events?page=")
	if e := <-events; e.kind != "page" {
		t.Fatalf("the first event is %q", e.kind)
	}
	closed.Store(true)
	for e := range events {
		if e.kind == "refused" {
			return
		}
	}
	t.Error("the stream ended without the event refused")
}
