package dashboard

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// failing stores n failed jobs of each name.
func failing(t testing.TB, store backend.Backend, n int, names ...string) {
	t.Helper()
	ctx := context.Background()
	w := backend.Worker{ID: 9, Host: "mill", PID: 9, Lease: time.Hour, Jobs: names}
	for _, name := range names {
		for left := n; left > 0; left -= 1000 {
			jobs := make([]backend.NewJob, min(left, 1000))
			for i := range jobs {
				jobs[i] = backend.NewJob{Name: name, Payload: fmt.Appendf(nil, `{"n":%d}`, i), MaxAttempts: 1}
			}
			if _, err := store.Push(ctx, jobs); err != nil {
				t.Fatal(err)
			}
			claimed, err := store.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{name}, Limit: len(jobs)})
			if err != nil || len(claimed) != len(jobs) {
				t.Fatal(len(claimed), err)
			}
			var failures []backend.Failure
			for _, j := range claimed {
				failures = append(failures, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed, Error: "dial tcp: connection refused"})
			}
			if _, err := store.Fail(ctx, failures); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var withField = regexp.MustCompile(`name="with" value="([^"]*)"`)

// begin takes an action on a whole filter, and returns the page that shows its progress.
func (w *world) begin(t testing.TB, query, more string) string {
	t.Helper()
	to, _ := w.post(t, http.StatusSeeOther, w.sweepForm(t, query, more))
	if !strings.HasPrefix(to, "action?id=") {
		t.Fatalf("after the form the page is %q", to)
	}
	return "/" + to
}

// sweepForm returns the form of an action on a whole filter.
func (w *world) sweepForm(t testing.TB, query, more string) string {
	t.Helper()
	page := w.get(t, http.StatusOK, "/change?"+query)
	m := withField.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("the page has no form: %s", page)
	}
	return "do=sweep" + more + "&with=" + escaped(html.UnescapeString(m[1]))
}

func escaped(text string) string {
	return strings.NewReplacer("%", "%25", "&", "%26", "+", "%2B").Replace(text)
}

// eventually waits until a page has a text.
func (w *world) eventually(t testing.TB, path, text string) string {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		page := w.get(t, http.StatusOK, path)
		if strings.Contains(page, text) {
			tick.Stop()
			return page
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s never has %q: %s", path, text, page)
		default:
		}
	}
}

func (w *world) counts(t testing.TB) string {
	t.Helper()
	counts, err := w.queue.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, c := range counts {
		words = append(words, fmt.Sprintf("%s %v=%d", c.Name, c.State, c.Jobs))
	}
	return strings.Join(words, " ")
}

// An action on a whole filter counts first, changes all jobs that match, and loses none.
func TestSweep(t *testing.T) {
	store := memory.New(nil)
	w := newWorld(t, store, nil)
	t.Cleanup(func() { w.queue.Close() })
	failing(t, store, 1500, "a", "b")
	page := w.get(t, http.StatusOK, "/jobs?state=failed")
	contains(t, page, "Retry: 3,000 jobs", "Delete: 3,000 jobs", "change?do=retry&amp;state=failed")
	lacks(t, page, "change?do=cancel")
	contains(t, w.get(t, http.StatusOK, "/change?do=retry&state=failed&name=a"), "Retry 1,500 jobs?", "failed")

	w.eventually(t, w.begin(t, "do=retry&state=failed&name=a", "&priority=-3"), "1,500 of 1,500")
	if got, want := w.counts(t), "a pending=1500 b failed=1500"; got != want {
		t.Errorf("after the retry: %s, want %s", got, want)
	}
	jobs, _, err := w.queue.List(t.Context(), plainjobs.Filter{Names: []string{"a"}}, 0, 1)
	if err != nil || jobs[0].Priority != -3 {
		t.Errorf("a retried job: %+v, %v", jobs, err)
	}
	w.eventually(t, w.begin(t, "do=prioritize&name=a", "&priority=7"), "1,500 of 1,500")
	w.eventually(t, w.begin(t, "do=delete&error=refused&state=failed", ""), "1,500 of 1,500")
	w.eventually(t, w.begin(t, "do=cancel&payload="+escaped(`"n":1}`), ""), ">2 of 2<")
	if got, want := w.counts(t), "a pending=1498 a cancelled=2"; got != want {
		t.Errorf("at the end: %s, want %s", got, want)
	}
	jobs, _, err = w.queue.List(t.Context(), plainjobs.Filter{Names: []string{"a"}}, 0, 1)
	if err != nil || jobs[0].Priority != 7 {
		t.Errorf("a prioritized job: %+v, %v", jobs, err)
	}
	page = w.get(t, http.StatusOK, "/actions")
	contains(t, page, "192.0.2.1", "Retry", "all jobs with name=a, priority=-3, state=failed", "payload=…")
	lacks(t, page, "&#34;n&#34;")
	w.get(t, http.StatusBadRequest, "/change?do=retry&state=pending")
	w.get(t, http.StatusBadRequest, "/change?do=nothing")
	w.get(t, http.StatusNotFound, "/action?id=99")
	w.post(t, http.StatusBadRequest, "do=sweep&verb=retry&top=x")
	w.post(t, http.StatusBadRequest, "do=sweep&verb=prioritize&top=9&priority=99999")
	w.post(t, http.StatusNotFound, "do=stop&id=99")
}

// A sweep leaves alone what its sender may not change, and stops when the sender loses the
// role.
func TestSweepRoles(t *testing.T) {
	store := memory.New(nil)
	var revoked atomic.Bool
	var asked atomic.Int64
	w := newWorld(t, store, &Options{Authorize: func(r *http.Request, a Action, name string) Role {
		switch {
		case a == View && name != "c":
			return Read
		case r.URL.Path == "/act" && asked.Add(1) == 20:
			revoked.Store(true)
			return None
		case a == Retry && name == "a" && !revoked.Load():
			return Full
		}
		return None
	}})
	t.Cleanup(func() { w.queue.Close() })
	failing(t, store, 5000, "a")
	failing(t, store, 10, "b", "c")
	contains(t, w.get(t, http.StatusOK, "/change?do=retry&state=failed"), "Retry 5,000 jobs?", "may not change are left out")
	w.get(t, http.StatusForbidden, "/change?do=retry&state=failed&name=b")
	w.get(t, http.StatusForbidden, "/change?do=retry&state=failed&name=c")
	page := w.eventually(t, w.begin(t, "do=retry&state=failed", ""), "stopped:")
	contains(t, page, "its sender may not do this any more")
	counts := w.counts(t)
	contains(t, counts, "b failed=10 c failed=10", "a failed=", "a pending=")
	w.post(t, http.StatusForbidden, "do=sweep&verb=retry&state=failed&top=9000")
	w.post(t, http.StatusForbidden, "do=sweep&verb=delete&state=failed&name=a&top=9000")
}

// A sweep can be stopped, also by another process, and ends clearly.
func TestSweepStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	open := func() *world {
		store, err := modernc.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, store, nil)
		t.Cleanup(func() { w.queue.Close() })
		return w
	}
	one, other := open(), open()
	store, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	failing(t, store, 20_000, "a")
	store.Close()
	for _, by := range []*world{one, other} {
		page := one.begin(t, "do=delete&state=failed", "")
		contains(t, by.get(t, http.StatusOK, page), ">Stop<", "http-equiv=\"refresh\"")
		by.post(t, http.StatusSeeOther, "do=stop&id="+strings.TrimPrefix(page, "/action?id="))
		one.eventually(t, page, "stopped by 192.0.2.1")
	}
	lacks(t, one.get(t, http.StatusOK, "/actions"), ">running<")
	if !strings.Contains(one.counts(t), "failed=") {
		t.Error("the stopped sweeps have deleted everything")
	}
}

// If the process of a sweep ends, the page says that it does not report any more.
func TestSweepSilent(t *testing.T) {
	var skew atomic.Int64
	store := memory.New(&memory.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }})
	w := newWorld(t, store, nil)
	t.Cleanup(func() { w.queue.Close() })
	skew.Store(-int64(time.Hour))
	a, err := store.RecordAction(t.Context(), plainjobs.Action{By: "ada", What: "retry", On: "all jobs", Jobs: 10, Total: 20})
	if err != nil {
		t.Fatal(err)
	}
	skew.Store(0)
	path := fmt.Sprintf("/action?id=%d", a.ID)
	contains(t, w.get(t, http.StatusOK, path), "Its process has not reported", "10 of 20", ">Stop<")
	w.post(t, http.StatusSeeOther, fmt.Sprintf("do=stop&id=%d", a.ID))
	contains(t, w.get(t, http.StatusOK, path), "stopped by 192.0.2.1")
}

// A sweep whose queue is closed ends, and its goroutine with it.
func TestSweepClosed(t *testing.T) {
	store := memory.New(nil)
	w := newWorld(t, store, nil)
	failing(t, store, 20_000, "a")
	w.begin(t, "do=retry&state=failed", "")
	if err := w.queue.Close(); err != nil {
		t.Fatal(err)
	}
}

// Each action is an event.
func TestActionEvents(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	var events []plainjobs.Event
	defer w.queue.Subscribe(func(e plainjobs.Event) { events = append(events, e) })()
	w.post(t, http.StatusSeeOther, "do=retry&id=2")
	w.post(t, http.StatusSeeOther, "do=pause&name=sum")
	if len(events) != 2 || events[0].Kind != plainjobs.EventActed || events[0].Action.What != "retry" || events[0].Action.On != "job #2" || events[0].Action.Jobs != 1 ||
		events[1].Action.On != "jobs named sum" || events[1].Kind.String() != "acted" {
		t.Errorf("the events are %+v", events)
	}
	all, err := w.queue.Actions(t.Context(), 0, 10)
	if err != nil || len(all) != 2 || all[1] != *events[0].Action {
		t.Errorf("Actions = %+v, %v; want that of %+v", all, err, events)
	}
}
