package dashboard

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// updateFor returns an update of the overview for the sender of a request to a path.
func (h *handler) updateFor(t *testing.T, path string) string {
	t.Helper()
	s := &stream{r: httptest.NewRequest(http.MethodGet, path, nil), updates: make(chan update, 1)}
	h.renderLive(t.Context(), url.Values{"page": {""}}, []*stream{s})
	u := <-s.updates
	if u.problem != "" {
		t.Fatal(u.problem)
	}
	return u.event
}

// An update keeps what changes seldom, but not failures whose number has changed, and never
// what a page that was loaded since has shown. A sender sees nothing that was read for another.
func TestSeldom(t *testing.T) {
	store := newStore(t)
	sendActivity(t, store, backend.Activity{Name: "invoice", Done: 1234}, backend.Activity{Name: "sum", Done: 7777})
	h := newHandler(plainjobs.New(store, nil), &Options{Authorize: func(r *http.Request, _ Action, name string) Role {
		if r.URL.Path == "/some" && name != "invoice" {
			return None
		}
		return Full
	}})
	contains(t, h.updateFor(t, "/all"), `href=\"job?id=2\"`, "timeout", "1 of 2 running", "9,011 runs")
	if err := store.Pause(t.Context(), "", true); err != nil {
		t.Fatal(err)
	}
	lacks(t, h.updateFor(t, "/all"), "whole queue is paused")
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	contains(t, h.updateFor(t, "/all"), "whole queue is paused")
	if err := store.Pause(t.Context(), "", false); err != nil {
		t.Fatal(err)
	}
	failing(t, store, 1, "sum")
	contains(t, h.updateFor(t, "/all"), `href=\"job?id=2\"`, `href=\"job?id=9\"`, "9,011 runs")
	some := h.updateFor(t, "/some")
	contains(t, some, `href=\"job?id=2\"`, "1,234 runs")
	lacks(t, some, `href=\"job?id=9\"`, "name=sum", "9,011")
	contains(t, h.updateFor(t, "/all"), `href=\"job?id=9\"`, "9,011 runs")
}
