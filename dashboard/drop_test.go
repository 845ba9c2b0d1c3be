package dashboard

import (
	"net/http"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// The pages of a job without payload say so, and offer nothing that needs it. A retry of
// many jobs leaves it alone.
func TestDropped(t *testing.T) {
	store := newStore(t)
	if _, err := store.Set(t.Context(), 0, []backend.Settings{{Name: "invoice", History: backend.History{DropFailed: true}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "invoice", Payload: []byte(`"secret"`), MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Operate(t.Context(), backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{IDs: []int64{9}}}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, store, nil)
	page := w.get(t, http.StatusOK, "/job?id=9")
	contains(t, page, "It was dropped when the job ended", "app show 9")
	lacks(t, page, "secret", "app retry 9", "app perform invoice", `value="retry"`, "again?id=9", "part=payload")
	contains(t, w.get(t, http.StatusConflict, "/again?id=9"), "The payload of job #9 was deleted")
	w.post(t, http.StatusConflict, "do=duplicate&id=9")
	contains(t, w.get(t, http.StatusOK, "/limits"), "no payloads of failed jobs")
	_, page = w.post(t, http.StatusSeeOther, "do=retry&id=9&id=2&back=jobs")
	contains(t, page, "1 of 2")
	w.eventually(t, w.begin(t, "do=retry&name=invoice", ""), "1 job stay as they are: their payloads were deleted when they ended")
}
