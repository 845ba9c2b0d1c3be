package dashboard

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// The page shows stored schedules in pages, with their last runs and problems; they are paused, and
// their jobs run at once.
func TestStoredSchedules(t *testing.T) {
	store := newStore(t)
	w := newWorld(t, store, nil)
	job := plainjobs.Declare[string]("dashboard/stored")
	for i := range 25 {
		if err := w.queue.SetSchedule(t.Context(), fmt.Sprintf("report/%02d", i), "@daily", job.With("x")); err != nil {
			t.Fatal(err)
		}
	}
	scheduler := backend.Scheduler(store)
	err := scheduler.ChangeSchedule(t.Context(), nil, "report/00", func(now time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
		s.Problem, s.Next, s.Look = "unknown time zone <Mars>", now.Add(-time.Hour), now.Add(-time.Hour)
		return s, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	page := w.get(t, http.StatusOK, "/schedules")
	contains(t, page, "nightly", "report/00", "report/19", "unknown time zone &lt;Mars&gt;", `href="schedules?after=report%2F19&amp;prefix="`, "Run report/00 now")
	lacks(t, page, "report/20")
	page = w.get(t, http.StatusOK, "/schedules?prefix=&after=report/19")
	contains(t, page, "report/20", "report/24")
	lacks(t, page, "report/19", "nightly")
	contains(t, w.get(t, http.StatusOK, "/schedules?prefix=none"), "No stored schedule after this one begins with")

	due, err := scheduler.StoredSchedules(t.Context(), backend.StoredRequest{Due: true})
	if err != nil || len(due.Schedules) != 1 {
		t.Fatalf("StoredSchedules = %v, %v", due, err)
	}
	s := due.Schedules[0]
	if _, err := scheduler.TickStored(t.Context(), []backend.Tick{{Name: s.Name, Definition: s.Definition, Due: s.Next, Next: s.Next.Add(time.Hour * 24), Jobs: []backend.NewJob{s.Job}}}); err != nil {
		t.Fatal(err)
	}
	contains(t, w.get(t, http.StatusOK, "/schedules?prefix=report/00"), "Latest jobs of its ticks", `href="job?id=9"`)
	_, page = w.post(t, http.StatusSeeOther, "do=run-schedule&name=report/01")
	contains(t, page, "Ran schedule report/01 as job #10.")
	_, page = w.post(t, http.StatusSeeOther, "do=pause-schedule&name=report/01&back=schedules")
	contains(t, page, "Paused schedule report/01.", "Resume report/01")
}
