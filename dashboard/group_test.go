package dashboard

import (
	"net/http"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var (
	mailed = plainjobs.Declare[string]("group/mail")
	summed = plainjobs.Declare[string]("group/sum")
)

// newGroups returns a store with group 1, of which a member failed, and in it group 2, sealed.
func newGroups(t *testing.T) *memory.Backend {
	t.Helper()
	ctx := t.Context()
	store := memory.New(nil)
	t.Cleanup(func() { store.Close() })
	q := plainjobs.New(store, nil)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	g, err := q.Group(ctx, plainjobs.Label("<b>letters"), plainjobs.OnDone(summed.With("all")), plainjobs.OnFailure(summed.With("failure")), plainjobs.Deadline(time.Hour))
	check(err)
	_, err = g.PerformMany(ctx, mailed.With("a"), mailed.With("b"))
	check(err)
	jobs, err := store.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: time.Hour}, Register: true, Names: []string{"group/mail"}, Limit: 1})
	check(err)
	_, err = store.Fail(ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndFailed, Error: "no such address"}})
	check(err)
	inner, err := g.Group(ctx, plainjobs.Label("inner"), plainjobs.OnEnd(summed.With("inner")))
	check(err)
	_, err = inner.Perform(ctx, mailed.With("c"))
	check(err)
	check(inner.Seal(ctx))
	ended, err := q.Group(ctx)
	check(err)
	check(ended.Seal(ctx))
	return store
}

func TestGroupPages(t *testing.T) {
	store := newGroups(t)
	w := newWorld(t, store, nil)
	for _, test := range []struct {
		path  string
		texts []string
	}{
		{"/groups", []string{`href="group?id=1"`, "&lt;b&gt;letters", "1 of 4, 1 failed", "not sealed", `href="group?id=2"`, `href="groups?all=yes"`, `href="groups" aria-current="page"`}},
		{"/groups?all=yes", []string{`href="group?id=3"`, "done"}},
		{"/groups?before=2", []string{`href="group?id=1"`, "Back to the newest"}},
		{"/group?id=1", []string{"Group 1", "1 of 4, 1 failed", `<progress max="100" value="25"`, "does not end before its program calls Seal", "OnDone", "OnFailure", "Group 2", "inner",
			"no such address", `href="jobs?group=1"`, `href="jobs?group=1&amp;state=failed"`, "app group 1 --seal", "Deadline"}},
		{"/group?id=2", []string{"open", "OnEnd", "In group", `href="group?id=1"`, "app group 2 --cancel"}},
		{"/group?id=3", []string{"done", "app group 3 --delete"}},
		{"/jobs?group=1", []string{`href="job?id=3"`, `href="job?id=4"`, "app jobs --group 1", `name="group" inputmode="numeric" value="1"`}},
		{"/jobs", []string{`after <a href="group?id=1">group 1</a>`}},
		{"/job?id=1", []string{"It is the OnDone callback of group 1", "OnDone of group", `href="group?id=1"`}},
		{"/job?id=3", []string{"In group", `href="group?id=1"`}},
	} {
		contains(t, w.get(t, http.StatusOK, test.path), test.texts...)
	}
	lacks(t, w.get(t, http.StatusOK, "/groups"), `href="group?id=3"`)
	lacks(t, w.get(t, http.StatusOK, "/group?id=3"), "--seal", "--cancel")
	for path, status := range map[string]int{"/group?id=99": 404, "/group": 400, "/group?id=x": 400, "/groups?before=0": 400, "/jobs?group=x": 400} {
		w.get(t, status, path)
	}
}

// A sender sees only callbacks and members of names that Authorize allows, and what Redact
// leaves.
func TestGroupPageHides(t *testing.T) {
	w := newWorld(t, newGroups(t), &Options{
		Authorize: func(_ *http.Request, _ Action, name string) Role {
			if name == "group/sum" {
				return None
			}
			return Read
		},
		Redact: func(job *plainjobs.Info) {
			for i := range job.Errors {
				job.Errors[i].Error = "secret"
			}
		},
	})
	page := w.get(t, http.StatusOK, "/group?id=1")
	lacks(t, page, "group/sum", "OnDone", "no such address")
	contains(t, page, "group/mail", "secret", "inner")
}

// A group is paused and resumed from its page, by a sender who may pause everything.
func TestPauseGroup(t *testing.T) {
	store := newGroups(t)
	w := newWorld(t, store, nil)
	contains(t, w.get(t, http.StatusOK, "/group?id=1"), `value="pause-group"`)
	_, page := w.post(t, http.StatusSeeOther, "do=pause-group&group=1&back=group?id=1")
	contains(t, page, "Paused group 1.", `<span class="state paused">paused</span>`, "Workers start none of its members", `value="resume-group"`)
	contains(t, w.get(t, http.StatusOK, "/job?id=4"), "Its group is paused")
	contains(t, w.get(t, http.StatusOK, "/groups"), "paused")
	_, page = w.post(t, http.StatusSeeOther, "do=resume-group&group=1&back=group?id=1")
	contains(t, page, "Resumed group 1.", "not sealed")
	contains(t, w.get(t, http.StatusOK, "/actions"), "group 1")
	w.post(t, http.StatusNotFound, "do=pause-group&group=99")
	w.post(t, http.StatusBadRequest, "do=pause-group&group=x")
	lacks(t, w.get(t, http.StatusOK, "/group?id=3"), `value="pause-group"`)
	reader := newWorld(t, store, &Options{Authorize: func(_ *http.Request, a Action, _ string) Role {
		if a == Pause {
			return Read
		}
		return Full
	}})
	lacks(t, reader.get(t, http.StatusOK, "/group?id=1"), `value="pause-group"`)
	reader.post(t, http.StatusForbidden, "do=pause-group&group=1")
}
