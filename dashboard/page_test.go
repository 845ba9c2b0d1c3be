package dashboard

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

func TestPages(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	for _, test := range []struct {
		path  string
		texts []string
	}{
		{"/", []string{"Jobs by name and state", `href="jobs?name=invoice&amp;state=failed"`, "welcome is paused, with 1 pending", "app resume welcome", "2 running", "dial tcp 10.0.0.1:25: timeout"}},
		{"/jobs", []string{"<strong>8 jobs</strong>", `href="job?id=7"`, "d@example.com", "after <a href=\"job?id=4\">#4</a>", "25 %"}},
		{"/jobs?state=failed&name=invoice", []string{"<strong>1 job</strong>", `href="job?id=2"`, "app jobs --state failed --name invoice"}},
		{"/jobs?error=timeout", []string{`href="job?id=2"`, `href="job?id=3"`, `value="timeout"`}},
		{"/jobs?payload=ada@", []string{`href="job?id=2"`}},
		{"/jobs?key=k", []string{`href="job?id=4"`, `href="job?id=5"`}},
		{"/jobs?since=1h&state=done", []string{`href="job?id=1"`}},
		{"/jobs?until=1h", []string{"No job matches the filter."}},
		{"/jobs?before=3", []string{`href="job?id=2"`, "Back to the newest"}},
		{"/job?id=2", []string{"invoice #2", "Attempt 1 failed", "ran on mill, pid 4711, for less than 0.1 s", "Attempt 2 failed", "ran on mill, pid 4711, for 2.1 s", "ada@example.com", "<del>- dial tcp 10.0.0.1:25: connection refused</del>", "<ins>+ dial tcp 10.0.0.1:25: timeout</ins>", "app retry 2", "abc", "main.go:12"}},
		{"/job?id=%232&from=2&to=2", []string{"The errors and stacks are equal."}},
		{"/job?id=5", []string{"held by job #4"}},
		{"/job?id=4", []string{"30 of 120", "mill, pid 4711", "app cancel 4"}},
		{"/job?id=1", []string{"<h2 id=\"result\">Result"}},
		{"/job?id=6", []string{"Jobs named welcome are paused"}},
		{"/schedules", []string{"Monday to Friday at 03:30", "every 20 minutes", "Europe/Berlin"}},
		{"/workers", []string{"mill", "pid 4711", "alive", `href="job?id=4"`}},
		{"/limits", []string{"app resume welcome", "1 of 2", "5 in 1 minute", "3 crashes"}},
		{"/raw?id=2&part=payload", []string{`{"to":"ada@example.com"}`}},
		{"/raw?id=1&part=result", []string{"3"}},
	} {
		contains(t, w.get(t, http.StatusOK, test.path), test.texts...)
	}
}

// A wrong address is answered by a page that says what is wrong.
func TestWrong(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	for _, test := range []struct {
		path   string
		status int
		text   string
	}{
		{"/nothing", 404, "There is no such page"},
		{"/job?id=99", 404, "Job #99 does not exist"},
		{"/job?id=x", 400, "is not a positive number"},
		{"/job", 400, "is not a positive number"},
		{"/job?id=2&from=9", 400, "is not one of the 2 errors"},
		{"/raw?id=0", 400, "is not a positive number"},
		{"/jobs?state=lost", 400, "There is no state"},
		{"/jobs?before=-1", 400, "is not a job"},
		{"/jobs?since=yesterday", 400, "is no time"},
		{"/jobs?since=1h&until=2h", 400, "no job matches"},
	} {
		contains(t, w.get(t, test.status, test.path), test.text, "<nav")
	}
	if err := w.queue.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/jobs", "/job?id=1", "/schedules", "/workers", "/limits"} {
		contains(t, w.get(t, http.StatusServiceUnavailable, path), "The queue is closed", `http-equiv="refresh"`)
	}
}

// The handler works under any prefix, with and without StripPrefix.
func TestPrefix(t *testing.T) {
	h := newWorld(t, newStore(t), nil)
	mux := http.NewServeMux()
	mux.Handle("/admin/jobs/", h)
	mux.Handle("/x/", http.StripPrefix("/x", h))
	mux.Handle("/y", http.StripPrefix("/y", h))
	server := httptest.NewServer(mux)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	for _, path := range []string{"/admin/jobs/", "/admin/jobs/jobs", "/x/", "/x/workers", "/x/style.css", "/admin/jobs", "/admin/jobs/a/../jobs"} {
		r, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if body(t, r); r.StatusCode != http.StatusOK {
			t.Errorf("GET %s: status %d", path, r.StatusCode)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Get(server.URL + "/y")
	if err != nil {
		t.Fatal(err)
	}
	if body(t, r); r.Header.Get("Location") != "/y/" {
		t.Errorf("GET /y leads to %q", r.Header.Get("Location"))
	}
}

// A store without optional capabilities hides the pages that need them.
func TestStoreWithout(t *testing.T) {
	store := newStore(t)
	for _, test := range []struct {
		store backend.Backend
		pages map[string]int
	}{
		{readerStore{store, store}, map[string]int{"/": 200, "/jobs": 200, "/job?id=5": 200, "/workers": 200, "/limits": 404, "/schedules": 404}},
		{bareStore{store}, map[string]int{"/": 501, "/jobs": 501, "/job?id=5": 501, "/limits": 404}},
	} {
		w := newWorld(t, test.store, nil)
		for path, status := range test.pages {
			page := w.get(t, status, path)
			lacks(t, page, `<a href="limits"`, `<a href="schedules"`)
		}
	}
}
