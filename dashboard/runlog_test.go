package dashboard

import (
	"net/http"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// The page of a job shows what its runs logged, the latest first, as text, and the end of a long
// log. Redact can change it.
func TestLogs(t *testing.T) {
	store := memory.New(nil)
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "letter", Payload: []byte("{}"), MaxAttempts: 3}}); err != nil {
		t.Fatal(err)
	}
	run := func(text string) {
		t.Helper()
		jobs, err := store.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 5, Lease: 1e12}, Register: true, Names: []string{"letter"}, Limit: 1})
		if err == nil && len(jobs) == 1 {
			err = store.StoreProgress(t.Context(), []backend.Progress{{Lease: jobs[0].Lease, Log: text}})
		}
		if err == nil {
			_, err = store.Fail(t.Context(), []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndRetry, Error: "bad"}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, store, nil)
	lacks(t, w.get(t, http.StatusOK, "/job?id=1"), `id="logs"`)
	run("first\n" + strings.Repeat("a long line of a log\n", 3000))
	run("level=INFO msg=\"<b>bold\x1b[31m\"\n")
	page := w.get(t, http.StatusOK, "/job?id=1")
	contains(t, page, `id="logs"`, "Attempt 1", "Attempt 2", "&lt;b&gt;bold\\x1b[31m", "The end of", "a long line of a log")
	lacks(t, page, "<b>bold", "first\n")
	if strings.Index(page, "Attempt 2, ") > strings.Index(page, "Attempt 1, ") {
		t.Error("the latest log is not first")
	}
	w = newWorld(t, store, &Options{Authorize: everyone, Redact: func(j *plainjobs.Info) {
		for i := range j.Logs {
			j.Logs[i].Text = "cut"
		}
	}})
	lacks(t, w.get(t, http.StatusOK, "/job?id=1"), "bold", "a long line")
}
