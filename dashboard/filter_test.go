package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// A list takes several states, names and pairs of metadata, in its address and its form,
// and so does an action on all jobs that match.
func TestFilterLists(t *testing.T) {
	store := memory.New(nil)
	w := newWorld(t, store, nil)
	t.Cleanup(func() { w.queue.Close() })
	failing(t, store, 2, "a", "b", "c")
	var jobs []backend.NewJob
	for _, metadata := range []string{`{"tenant":"acme","eu":"a=b"}`, `{"tenant":"acme"}`, `{"tenant":"other"}`} {
		jobs = append(jobs, backend.NewJob{Name: "d", Metadata: []byte(metadata), MaxAttempts: 1})
	}
	if _, err := store.Push(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/jobs?name=a&name=b":                                        {"<strong>4 jobs</strong>", "app jobs --name a,b", `value="a, b"`, "Retry: 4 jobs", "change?do=retry&amp;name=a&amp;name=b"},
		"/jobs?name=c%2C+a&state=":                                   {"<strong>4 jobs</strong>", "app jobs --name c,a"},
		"/jobs?state=failed&state=pending":                           {"<strong>9 jobs</strong>", "app jobs --state failed,pending", `value="failed" checked`, `value="pending" checked`, "Retry: 6 jobs (failed)"},
		"/jobs?state=done,cancelled":                                 {"<strong>0 jobs</strong>"},
		"/jobs?metadata=tenant%3Dacme":                               {`<a class="row" href="job?id=8">`, `<a class="row" href="job?id=7">`, "app jobs --metadata tenant=acme", `value="tenant=acme"`},
		"/change?do=cancel&metadata=eu%3Da%3Db":                      {"Cancel 1 job?", "eu=a=b"},
		"/change?do=delete&state=failed&state=running&name=a&name=c": {"Delete 4 jobs?", "<bdi>failed</bdi>", "<bdi>a, c</bdi>"},
	} {
		contains(t, w.get(t, http.StatusOK, path), want...)
	}
	lacks(t, w.get(t, http.StatusOK, "/jobs?metadata=tenant%3Dacme&metadata="), `"job?id=9"`)
	lacks(t, w.get(t, http.StatusOK, "/jobs?metadata=tenant%3Dacme&metadata=eu%3Da%3Db"), `"job?id=8"`)
	w.get(t, http.StatusBadRequest, "/jobs?metadata=tenant")
	w.get(t, http.StatusBadRequest, "/change?do=retry&state=running&state=pending")

	w.eventually(t, w.begin(t, "do=retry&name=a&name=b&state=cancelled&state=failed", ""), "4 of 4")
	w.eventually(t, w.begin(t, "do=cancel&metadata="+url.QueryEscape("tenant=acme"), ""), ">2 of 2<")
	if got, want := w.counts(t), "a pending=2 b pending=2 c failed=2 d pending=1 d cancelled=2"; got != want {
		t.Errorf("after the actions: %s, want %s", got, want)
	}
	contains(t, w.get(t, http.StatusOK, "/actions"), "all jobs with name=a, name=b, state=cancelled, state=failed", "metadata=tenant=acme")
}

// Who may not see a name cannot find out about its jobs by a list of names, nor by
// metadata that Redact removes.
func TestFilterListsHidden(t *testing.T) {
	store := newStore(t)
	w := newWorld(t, store, &Options{
		Authorize: func(_ *http.Request, _ Action, name string) Role {
			if name == "invoice" || name == "sum" {
				return Read
			}
			return None
		},
		Redact: func(job *plainjobs.Info) { delete(job.Metadata, "trace") },
	})
	contains(t, w.get(t, http.StatusOK, "/jobs?name=invoice&name=sum"), "<strong>4 jobs</strong>")
	w.get(t, http.StatusForbidden, "/jobs?name=invoice&name=welcome")
	w.get(t, http.StatusForbidden, "/change?do=retry&name=invoice&name=welcome")
	lacks(t, w.get(t, http.StatusOK, "/jobs?metadata=trace%3Dabc"), `"job?id=2"`)
}

func TestSeveral(t *testing.T) {
	if got, want := several([]string{"a, b", "", "b", "c,,a d"}), []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("several returned %q, want %q", got, want)
	}
}
