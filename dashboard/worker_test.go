package dashboard

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// The pages of workers and of the job show the program's version and stuck handlers. A
// sender who may not see a job does not see its stack, and Redact changes it.
func TestStuck(t *testing.T) {
	store := newStore(t)
	self := backend.Worker{ID: 78, Host: "mill", PID: 4712, Version: "v1.2.3", Lease: time.Hour, Jobs: []string{"invoice"}}
	jobs, err := store.Claim(t.Context(), backend.ClaimRequest{Worker: self, Register: true, Names: []string{"invoice", "sum"}, Limit: 1})
	if err != nil || len(jobs) != 0 {
		t.Fatalf("Claim = %v, %v", jobs, err)
	}
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "sum", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	if jobs, err = store.Claim(t.Context(), backend.ClaimRequest{Worker: self, Names: []string{"sum"}, Limit: 1}); err != nil || len(jobs) != 1 {
		t.Fatalf("Claim = %v, %v", jobs, err)
	}
	stuck := []backend.Stuck{{ID: jobs[0].ID, Name: "sum", Stack: "goroutine 7 [chan receive]:\nshop.wait(…) <b>"}}
	if _, err := store.Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: self, Stuck: stuck}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, store, nil)
	contains(t, w.get(t, http.StatusOK, "/workers"), "v1.2.3", `<strong>Stuck:</strong>`, `href="job?id=9"`, "shop.wait(…) &lt;b&gt;")
	contains(t, w.get(t, http.StatusOK, "/job?id=9"), "mill, pid 4712, v1.2.3", "Stuck: the handler", "shop.wait(…) &lt;b&gt;")
	lacks(t, w.get(t, http.StatusOK, "/job?id=4"), "Stuck", "shop.wait")

	contains(t, w.get(t, http.StatusOK, "/"), "the handler of sum #9 still runs")

	hidden := newWorld(t, store, &Options{
		Authorize: func(_ *http.Request, _ Action, name string) Role {
			if name == "sum" {
				return None
			}
			return Full
		},
	})
	lacks(t, hidden.get(t, http.StatusOK, "/workers"), "Stuck", "shop.wait")
	redacted := newWorld(t, store, &Options{Authorize: everyone, Redact: func(j *plainjobs.Info) {
		for i := range j.Errors {
			j.Errors[i].Stack = strings.ReplaceAll(j.Errors[i].Stack, "shop.wait", "left out")
		}
	}})
	page := redacted.get(t, http.StatusOK, "/workers")
	contains(t, page, "left out")
	lacks(t, page, "shop.wait")
}
