package dashboard

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

type letter struct {
	To string `json:"to"`
}

// letters is a job that the program of the tests defines.
var letters = plainjobs.Declare[letter]("letter")

// post sends a form, given as it is in a URL, and requires a status. It returns the
// response with the page that a browser would show then.
func (w *world) post(t testing.TB, status int, form string) (location, page string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/act", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	if rec.Code != status {
		t.Fatalf("POST of %s: status %d, want %d: %s", form, rec.Code, status, rec.Body)
	}
	if rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("POST of %s: the headers are %v", form, rec.Header())
	}
	location = rec.Header().Get("Location")
	if location == "" {
		return "", rec.Body.String()
	}
	return location, w.get(t, http.StatusOK, "/"+strings.TrimPrefix(location, "./"))
}

func (w *world) state(t testing.TB, id int64, want plainjobs.State) {
	t.Helper()
	j, err := w.queue.Get(t.Context(), id)
	if err != nil || j.State != want {
		t.Errorf("job %d is %v (%v), want %v", id, j.State, err, want)
	}
}

// The jobs that hold a unique key are listed, and a key that is kept after its job has
// ended can be freed.
func TestFreeKey(t *testing.T) {
	store := newStore(t)
	kept := backend.NewJob{Name: "once", MaxAttempts: 1, Unique: backend.Unique{Key: "2026-03", For: time.Hour}}
	if _, err := store.Push(t.Context(), []backend.NewJob{kept}); err != nil {
		t.Fatal(err)
	}
	claimed, err := store.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 5, Lease: time.Hour}, Register: true, Names: []string{"once"}, Limit: 1})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("Claim = %v, %v", claimed, err)
	}
	if _, err := store.Complete(t.Context(), []backend.Completion{{Lease: claimed[0].Lease}}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, store, nil)
	contains(t, w.get(t, http.StatusOK, "/limits"), `href="jobs?has-key=yes"`)
	contains(t, w.get(t, http.StatusOK, "/jobs?has-key=yes"), `href="job?id=9"`, `href="job?id=7"`, "app jobs --has-key", "change?do=free-key&amp;has-key=yes")
	lacks(t, w.get(t, http.StatusOK, "/jobs"), "free-key&amp;")
	contains(t, w.get(t, http.StatusOK, "/change?do=free-key&has-key=yes"), "Free the keys of 1 job?", "app free --all --state running,done,failed --has-key")
	contains(t, w.get(t, http.StatusOK, "/job?id=9"), ">Free the key<", "Key kept until")
	lacks(t, w.get(t, http.StatusOK, "/job?id=1"), ">Free the key<")
	_, page := w.post(t, http.StatusSeeOther, "do=free-key&id=1&back=jobs")
	contains(t, page, "Nothing was freed of the key: job #1. Job #1 is done and keeps no key.")
	_, page = w.post(t, http.StatusSeeOther, "do=free-key&id=9&back=jobs")
	contains(t, page, "Freed of the key: job #9.")
	pushed, err := store.Push(t.Context(), []backend.NewJob{kept})
	if err != nil || pushed[0].Duplicate {
		t.Errorf("after its key was freed another job is %v, %v", pushed, err)
	}
}

// The limits of a name can be changed, lifted and left to the program again.
func TestLimits(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	contains(t, w.get(t, http.StatusOK, "/limits"), `href="limit?name=import"`)
	contains(t, w.get(t, http.StatusOK, "/limit?name=import"), "Limits of import", "max-running 2", "The program says")
	limits := func() plainjobs.NameInfo {
		t.Helper()
		names, err := w.queue.Names(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if n.Name == "import" {
				return n
			}
		}
		t.Fatal("import has no limits")
		return plainjobs.NameInfo{}
	}
	_, page := w.post(t, http.StatusSeeOther, "do=limit&name=import&running=7&rate=100&per=1h0m0s&worker=&back=limits")
	contains(t, page, "Changed the limits of import: max-running 7, rate 100 in 1h0m0s.", "set by 192.0.2.1")
	if n := limits(); n.MaxRunning != 7 || n.Rate != 100 || n.Per != time.Hour || n.MaxCrashes != 3 || n.Override.By != "192.0.2.1" {
		t.Errorf("the limits are %+v", n)
	}
	contains(t, w.get(t, http.StatusOK, "/limit?name=import"), `name="running" value="7"`, `value="1h0m0s" selected`, "Changed by")
	if err := w.queue.Override(t.Context(), "import", "ada", plainjobs.MaxCrashes(9)); err != nil {
		t.Fatal(err)
	}
	w.post(t, http.StatusSeeOther, "do=limit&name=import&running=none&rate=&per=1m0s&back=limits")
	if n := limits(); n.MaxRunning != 0 || n.Rate != 0 || n.MaxCrashes != 9 {
		t.Errorf("without limits they are %+v", n)
	}
	w.post(t, http.StatusSeeOther, "do=limit&name=import&running=&rate=&back=limits")
	if n := limits(); n.MaxRunning != 2 || n.MaxCrashes != 9 {
		t.Errorf("left to the program the limits are %+v", n)
	}
	for _, form := range []string{"name=import&running=0", "name=import&running=-1", "name=import&rate=5&per=x", "name=import&worker=many", "name="} {
		w.post(t, http.StatusBadRequest, "do=limit&"+form)
	}
	contains(t, w.get(t, http.StatusOK, "/actions"), "import: max-running 7", "ada")

	reader := newWorld(t, newStore(t), &Options{Authorize: func(_ *http.Request, a Action, _ string) Role {
		if a == Limit {
			return Read
		}
		return Full
	}})
	lacks(t, reader.get(t, http.StatusOK, "/limits"), `href="limit?`)
	reader.get(t, http.StatusForbidden, "/limit?name=import")
	reader.post(t, http.StatusForbidden, "do=limit&name=import&running=7")
}

// Each action on a job changes it, and the page says so.
func TestActions(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	contains(t, w.get(t, http.StatusOK, "/job?id=2"), ">Retry<", ">Delete<", "Edit and perform again")
	lacks(t, w.get(t, http.StatusOK, "/job?id=2"), ">Run now<", ">Cancel<")
	contains(t, w.get(t, http.StatusOK, "/job?id=7"), ">Run now<", ">Cancel<", ">Delete<")
	to, page := w.post(t, http.StatusSeeOther, "do=retry&id=2&back=job%3Fid%3D2")
	if !strings.HasPrefix(to, "job?did=") {
		t.Errorf("after a retry the page is %q", to)
	}
	contains(t, page, "Retried: job #2.")
	w.state(t, 2, plainjobs.Pending)
	_, page = w.post(t, http.StatusSeeOther, "do=retry&id=2")
	contains(t, page, "Nothing was retried: job #2. Job #2 is pending.")
	w.post(t, http.StatusSeeOther, "do=run-now&id=7&back=jobs")
	w.state(t, 7, plainjobs.Pending)

	_, page = w.post(t, http.StatusOK, "do=cancel&id=5&id=6&id=1&back=jobs")
	contains(t, page, "Cancel jobs #6 and #5?", "sure=yes")
	w.state(t, 6, plainjobs.Pending)
	_, page = w.post(t, http.StatusSeeOther, "do=cancel&with="+url.QueryEscape("sure=yes&id=5&id=6&id=1&back=jobs?state=cancelled"))
	contains(t, page, "Cancelled: 2 of 3 (jobs #5, #6 and #1).", `value="cancelled" checked`)
	w.state(t, 6, plainjobs.Cancelled)
	w.post(t, http.StatusSeeOther, "do=delete&id=6&sure=yes")
	w.get(t, http.StatusNotFound, "/job?id=6")
	w.post(t, http.StatusNotFound, "do=delete&id=6&sure=yes")
}

// Pauses of a name, of all names and of a schedule.
func TestPauses(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	paused := func() (names []string) {
		all, err := w.queue.Names(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			if n.Paused {
				names = append(names, n.Name)
			}
		}
		return names
	}
	_, page := w.post(t, http.StatusSeeOther, "do=resume&name=welcome&back=limits")
	contains(t, page, "Resumed jobs named welcome.", "Pause all jobs")
	w.post(t, http.StatusSeeOther, "do=pause&name=sum")
	if got := paused(); len(got) != 1 || got[0] != "sum" {
		t.Errorf("paused are %q", got)
	}
	_, page = w.post(t, http.StatusOK, "do=pause&all=yes")
	contains(t, page, "Pause all jobs?")
	_, page = w.post(t, http.StatusSeeOther, "do=pause&all=yes&sure=yes&back=limits")
	contains(t, page, "Paused all jobs.", "Resume all jobs")
	if got := paused(); len(got) != 2 || got[0] != "" {
		t.Errorf("paused are %q", got)
	}
	w.post(t, http.StatusBadRequest, "do=pause&all=yes&name=sum")
	w.post(t, http.StatusBadRequest, "do=pause")

	_, page = w.post(t, http.StatusSeeOther, "do=pause-schedule&name=often&back=schedules")
	contains(t, page, "Paused schedule often.", "Resume often")
	_, page = w.post(t, http.StatusSeeOther, "do=resume-schedule&name=often&back=schedules")
	contains(t, page, "Resumed schedule often.", "Pause often")
	w.post(t, http.StatusNotFound, "do=pause-schedule&name=never")
	w.post(t, http.StatusNotFound, "do=run-schedule&name=never")
	w.post(t, http.StatusConflict, "do=run-schedule&name=often") // another program defines it
}

// A program can run its own schedule at once.
func TestRunSchedule(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	if err := w.queue.Schedule("post", "@daily", letters.With(letter{"ada"})); err != nil {
		t.Fatal(err)
	}
	contains(t, w.get(t, http.StatusOK, "/schedules"), "Run post now")
	to, page := w.post(t, http.StatusSeeOther, "do=run-schedule&name=post")
	contains(t, page, "Ran schedule post as job #9.", "letter #9")
	if !strings.Contains(to, "id=9") {
		t.Errorf("the page is %q", to)
	}
}

// An edited payload is checked against the job's type, and stays in the form until it is
// right.
func TestDuplicate(t *testing.T) {
	store := newStore(t)
	w := newWorld(t, store, nil)
	id, err := w.queue.Perform(t.Context(), letters.With(letter{"ada\u202e@example.com"}))
	if err != nil {
		t.Fatal(err)
	}
	page := w.get(t, http.StatusOK, "/again?id=9")
	contains(t, page, "dashboard.letter", `ada\u202e@example.com`, "Store a new job")
	_, page = w.post(t, http.StatusUnprocessableEntity, "do=duplicate&id=9&payload="+url.QueryEscape(`{"to":1,"cc":"</textarea><b>"}`))
	contains(t, page, "Nothing was stored.", "unknown field", "field to: cannot decode number", "&lt;/textarea&gt;")
	_, page = w.post(t, http.StatusUnprocessableEntity, "do=duplicate&id=9&payload=%7B")
	contains(t, page, "not valid JSON")
	to, page := w.post(t, http.StatusSeeOther, "do=duplicate&id=9&payload="+url.QueryEscape("{\r\n\"to\": \"b\"}\r\n"))
	contains(t, page, "Stored job #10, a copy of job #9.")
	if !strings.Contains(to, "id=10") {
		t.Errorf("the page is %q", to)
	}
	if j, err := w.queue.Get(t.Context(), 10); err != nil || string(j.Payload) != `{"to":"b"}` || j.Name != "letter" {
		t.Errorf("the new job is %+v, %v", j, err)
	}
	w.state(t, id, plainjobs.Pending)

	// A job that the program does not define.
	w.post(t, http.StatusUnprocessableEntity, "do=duplicate&id=2&payload=x")
	w.post(t, http.StatusSeeOther, "do=duplicate&id=2&payload=%5B1%5D")
	if j, err := w.queue.Get(t.Context(), 11); err != nil || string(j.Payload) != `[1]` || j.Name != "invoice" || j.MaxAttempts != 3 {
		t.Errorf("the new job is %+v, %v", j, err)
	}
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "raw", Payload: []byte("\xff\x00"), MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	contains(t, w.get(t, http.StatusOK, "/again?id=12"), "not JSON")
	w.post(t, http.StatusSeeOther, "do=duplicate&id=12")
	if j, err := w.queue.Get(t.Context(), 13); err != nil || string(j.Payload) != "\xff\x00" {
		t.Errorf("the new job is %+v, %v", j, err)
	}
}

// A payload that Redact changes is not offered to edit, and a copy has the whole one.
func TestDuplicateRedacted(t *testing.T) {
	w := newWorld(t, newStore(t), &Options{Authorize: everyone, Redact: func(j *plainjobs.Info) { j.Payload = json.RawMessage(`"…"`) }})
	page := w.get(t, http.StatusOK, "/again?id=2")
	contains(t, page, "not shown in full")
	lacks(t, page, "<textarea", "ada@example.com")
	w.post(t, http.StatusSeeOther, "do=duplicate&id=2")
	if j, err := w.queue.Get(t.Context(), 9); err != nil || !strings.Contains(string(j.Payload), "ada@example.com") {
		t.Errorf("the new job is %+v, %v", j, err)
	}
}

// Who may only see cannot act, and gets no buttons. The roles are asked for each action.
func TestMayNotAct(t *testing.T) {
	var admin atomic.Bool
	w := newWorld(t, newStore(t), &Options{Authorize: func(_ *http.Request, a Action, name string) Role {
		switch {
		case admin.Load(), a == Retry && name == "invoice":
			return Full
		}
		return Read
	}})
	for _, path := range []string{"/jobs?name=sum", "/job?id=1", "/limits", "/schedules"} {
		lacks(t, w.get(t, http.StatusOK, path), `action="act"`, "Edit and perform again")
	}
	w.get(t, http.StatusForbidden, "/again?id=1")
	for _, form := range []string{
		"do=retry&id=1", "do=retry&id=1&id=8&id=3", "do=cancel&id=6&sure=yes", "do=delete&id=2&sure=yes", "do=run-now&id=7", "do=pause&name=sum", "do=pause&all=yes&sure=yes",
		"do=resume&name=welcome", "do=pause-schedule&name=often", "do=duplicate&id=1&payload=1", "do=duplicate&id=2",
	} {
		if form == "do=retry&id=1&id=8&id=3" {
			_, page := w.post(t, http.StatusSeeOther, form)
			contains(t, page, "Retried: 1 of 3")
			continue
		}
		_, page := w.post(t, http.StatusForbidden, form)
		contains(t, page, "You may not do this", "Nothing was changed")
	}
	w.state(t, 1, plainjobs.Done)
	w.state(t, 6, plainjobs.Pending)
	page := w.get(t, http.StatusOK, "/job?id=2")
	contains(t, page, ">Retry<")
	lacks(t, page, ">Delete<")
	admin.Store(true)
	w.post(t, http.StatusSeeOther, "do=delete&id=1&sure=yes")
}

// Names that are hidden cannot be changed, and look as if they did not exist.
func TestHiddenNamesCannotBeChanged(t *testing.T) {
	w := newWorld(t, newStore(t), &Options{Authorize: func(_ *http.Request, _ Action, name string) Role {
		if name == "invoice" {
			return Full
		}
		return None
	}})
	for form, status := range map[string]int{
		"do=retry&id=1": 404, "do=retry&id=99": 404, "do=duplicate&id=1": 404, "do=pause&name=sum": 403, "do=pause&name=absent": 403, "do=pause&all=yes&sure=yes": 403,
		"do=pause-schedule&name=often": 404, "do=retry&id=2": 303,
	} {
		_, page := w.post(t, status, form)
		lacks(t, page, "sum #1")
	}
	w.state(t, 1, plainjobs.Done)
}

// Forms that are not of the dashboard change nothing.
func TestBadForms(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	for form, status := range map[string]int{
		"": 400, "do=": 400, "do=view&id=1": 400, "do=retry": 400, "do=retry&id=x": 400, "do=retry&id=-1": 400, "do=delete&id=%ff": 400, "do=%zz": 400,
		"do=retry&with=%25zz": 400, "do=duplicate": 400, "do=retry&id=1" + strings.Repeat("&id=1", 10): 303,
		"do=duplicate&id=2&payload=" + strings.Repeat("1", 5<<20): 413, "do=duplicate&id=2&payload=" + strings.Repeat("1", 2<<20): 422,
	} {
		w.post(t, status, form)
	}
	many := strings.Builder{}
	for i := range selectedMost + 1 {
		many.WriteString("&id=" + grouped(int64(i%999+1)) + string(rune('0'+i%10)))
	}
	w.post(t, http.StatusBadRequest, "do=retry"+many.String())
	for _, kind := range []string{"multipart/form-data; boundary=x", "text/plain", "application/json", ""} {
		r := httptest.NewRequest(http.MethodPost, "/act", strings.NewReader("do=delete&id=2&sure=yes"))
		r.Header.Set("Content-Type", kind)
		rec := httptest.NewRecorder()
		if w.ServeHTTP(rec, r); rec.Code != http.StatusUnsupportedMediaType {
			t.Errorf("a form of type %q: status %d", kind, rec.Code)
		}
	}
	w.get(t, http.StatusMethodNotAllowed, "/act?do=delete&id=2&sure=yes")
	w.state(t, 2, plainjobs.Failed)
	for _, back := range []string{"//evil.example/", "https://evil.example/", "/etc", `\\evil.example`, "../../x", "javascript:alert(1)", "absent", "act", "%00", "jobs%2f..%2f..", "?x=1"} {
		to, _ := w.post(t, http.StatusSeeOther, "do=pause&name=sum&back="+url.QueryEscape(back))
		if !strings.HasPrefix(to, "./?") {
			t.Errorf("after a form with back=%s the page is %q", back, to)
		}
	}
}

// No origin but the dashboard's can act, whatever the type of its form.
func TestCrossOriginActions(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	for _, kind := range []string{"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/json", ""} {
		for header, value := range map[string]string{"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "origin": "null", "sec-fetch-site": "same-site"} {
			for _, path := range []string{"/act", "//act", "/x/act", "/act?x=1"} {
				r := httptest.NewRequest(http.MethodPost, "http://example.com"+path, strings.NewReader("do=delete&id=2&sure=yes"))
				r.Header.Set("Content-Type", kind)
				r.Header.Set(header, value)
				rec := httptest.NewRecorder()
				if w.ServeHTTP(rec, r); rec.Code != http.StatusForbidden {
					t.Errorf("POST to %s of type %q with %s %s: status %d", path, kind, header, value, rec.Code)
				}
			}
		}
	}
	w.state(t, 2, plainjobs.Failed)
}

// The actions work under any prefix, and an answer leads to a page below it.
func TestActionPrefix(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	for _, prefix := range []string{"/admin/jobs/", "/very/deep/"} {
		mux := http.NewServeMux()
		mux.Handle(prefix, w.Handler)
		mux.Handle("/strip"+prefix, http.StripPrefix("/strip"+strings.TrimSuffix(prefix, "/"), w.Handler))
		for _, root := range []string{"", "/strip"} {
			server := httptest.NewServer(mux)
			res, err := server.Client().PostForm(server.URL+root+prefix+"act", url.Values{"do": {"pause"}, "name": {"sum"}, "back": {"limits"}})
			if err != nil {
				t.Fatal(err)
			}
			contains(t, body(t, res), "Paused jobs named sum.")
			if got := res.Request.URL.EscapedPath(); got != root+prefix+"limits" {
				t.Errorf("the page is %s", got)
			}
			server.Client().CloseIdleConnections()
			server.Close()
		}
	}
}

// A message is shown to the sender of the action alone.
func TestMessageIsTheSenders(t *testing.T) {
	user := "ada"
	w := newWorld(t, newStore(t), &Options{Authorize: everyone, User: func(*http.Request) string { return user }})
	to, page := w.post(t, http.StatusSeeOther, "do=retry&id=2&back=jobs")
	contains(t, page, "Retried: job #2.")
	user = "eve"
	lacks(t, w.get(t, http.StatusOK, "/"+to), "Retried")
	lacks(t, w.get(t, http.StatusOK, "/jobs?did=retried"), "Retried")
}

// Once the queue is closed an action says so, and a sender who may see some jobs does not
// learn more than that.
func TestActOnClosedQueue(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	if err := w.queue.Close(); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"do=retry&id=2", "do=pause&name=sum", "do=pause-schedule&name=often", "do=duplicate&id=2"} {
		_, page := w.post(t, http.StatusServiceUnavailable, form)
		contains(t, page, "The queue is closed")
		lacks(t, page, `http-equiv="refresh"`)
	}
	some := &world{queue: w.queue, Handler: Handler(w.queue, &Options{Authorize: func(_ *http.Request, _ Action, name string) Role {
		if name == "sum" {
			return Full
		}
		return None
	}})}
	for _, path := range []string{"/", "/jobs", "/job?id=1"} {
		page := some.get(t, http.StatusServiceUnavailable, path)
		contains(t, page, "The store does not answer", `http-equiv="refresh"`)
		lacks(t, page, "closed.")
	}
}

// The page of a job says if its payload is not of the Go type, unless the payload is
// changed by Redact.
func TestMisfit(t *testing.T) {
	store := newStore(t)
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "letter", Payload: []byte(`{"to":7}`), MaxAttempts: 1}, {Name: "letter", Payload: []byte(`{"to":"ada"}`), MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, store, nil)
	contains(t, w.get(t, http.StatusOK, "/job?id=9"), "dashboard.letter", "It does not decode into this type", "number")
	page := w.get(t, http.StatusOK, "/job?id=10")
	contains(t, page, "dashboard.letter")
	lacks(t, page, "does not decode")
	redacted := newWorld(t, store, &Options{Authorize: everyone, Redact: func(j *plainjobs.Info) { j.Payload = hiddenPayload }})
	lacks(t, redacted.get(t, http.StatusOK, "/job?id=9"), "does not decode")
}

// secrets is a job whose payloads are not shown.
var secrets = plainjobs.DeclareResult[letter, string]("secret", plainjobs.HidePayload())

// What the option HidePayload hides is on no page, no search finds it, and a copy has it.
func TestHidePayload(t *testing.T) {
	store := newStore(t)
	w := newWorld(t, store, nil)
	if _, err := w.queue.Perform(t.Context(), secrets.With(letter{"carol@example.com"})); err != nil {
		t.Fatal(err)
	}
	claimed, err := store.Claim(t.Context(), backend.ClaimRequest{
		Worker: backend.Worker{ID: 5, Host: "mill", PID: 5, Lease: time.Hour}, Register: true, Names: []string{"secret"}, Limit: 1,
	})
	if err != nil || len(claimed) != 1 {
		t.Fatal(len(claimed), err)
	}
	if _, err := store.Complete(t.Context(), []backend.Completion{{Lease: claimed[0].Lease, Result: []byte(`"to carol"`)}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/jobs", "/jobs?name=secret", "/job?id=9", "/raw?id=9&part=payload", "/raw?id=9&part=result", "/again?id=9"} {
		lacks(t, w.get(t, http.StatusOK, path), "carol")
	}
	contains(t, w.get(t, http.StatusOK, "/job?id=9"), "hidden")
	lacks(t, w.get(t, http.StatusOK, "/jobs?payload=carol"), `href="job?id=9"`)
	contains(t, w.get(t, http.StatusOK, "/again?id=9"), "not shown in full")
	w.post(t, http.StatusSeeOther, "do=duplicate&id=9")
	if j, err := w.queue.Get(t.Context(), 10); err != nil || string(j.Payload) != `{"to":"carol@example.com"}` {
		t.Errorf("the copy is %+v, %v", j, err)
	}
}
