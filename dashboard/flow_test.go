package dashboard

import (
	"net/http"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// newFlows returns a store with flow 1 of four jobs, and a flow of 301.
func newFlows(t *testing.T) (store *memory.Backend, large int64) {
	t.Helper()
	store = memory.New(nil)
	t.Cleanup(func() { store.Close() })
	q := plainjobs.New(store, nil)
	var f, many plainjobs.Flow
	a, b := f.Add(mailed.With("a")), f.Add(mailed.With("b"))
	c := f.Add(summed.With("c"), plainjobs.DependsOn(a, b))
	f.Add(mailed.With("d"), plainjobs.DependsOn(c), plainjobs.DependsOnEnd(a))
	if _, err := q.PerformFlow(t.Context(), &f, plainjobs.Label("<i>order")); err != nil {
		t.Fatal(err)
	}
	for range 301 {
		many.Add(mailed.With("x"))
	}
	g, err := q.PerformFlow(t.Context(), &many)
	if err != nil {
		t.Fatal(err)
	}
	return store, g.ID()
}

func TestFlowPage(t *testing.T) {
	store, large := newFlows(t)
	w := newWorld(t, store, nil)
	page := w.get(t, http.StatusOK, "/group?id=1")
	contains(t, page, "Flow 1", "&lt;i&gt;order", "app flow 1", "<svg", `aria-label="group/sum #3, blocked, after #1, #2"`, `href="job?id=3"`,
		"group/mail #4, blocked, after the end of #1, #3", `class="edge ended"`, `viewBox="0 0 642 108"`)
	if n := strings.Count(page, `<path class="edge`); n != 4 {
		t.Errorf("the page draws %d edges, want 4", n)
	}
	contains(t, w.get(t, http.StatusOK, groupPath(large)), "The flow has 301 jobs", "too much to draw")
	contains(t, w.get(t, http.StatusOK, "/jobs?group=1"), `after others in <a href="group?id=1">group 1</a>`)
	contains(t, w.get(t, http.StatusOK, "/jobs?group=1&payload=c"), "group/sum")
	job := w.get(t, http.StatusOK, "/job?id=3")
	contains(t, job, "It waits for 2 of the 2 jobs that it depends on", `href="group?id=1"`)
	lacks(t, job, `href="group?id=2"`, "OnDone")
}

func groupPath(id int64) string { return "/" + groupHref(id) }

// A sender sees no name of a job that Authorize does not allow.
func TestFlowPageHides(t *testing.T) {
	store, _ := newFlows(t)
	w := newWorld(t, store, &Options{Authorize: func(_ *http.Request, _ Action, name string) Role {
		if name == "group/sum" {
			return None
		}
		return Read
	}})
	page := w.get(t, http.StatusOK, "/group?id=1")
	lacks(t, page, "group/sum", `href="job?id=3"`)
	contains(t, page, "hidden #3, blocked", `href="job?id=4"`)
}
