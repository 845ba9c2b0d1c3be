package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// Stored schedules are listed in pages, with their last runs and problems, paused and removed.
func TestStoredSchedules(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	q := plainjobs.New(w.store, nil)
	for _, name := range []string{"report/acme", "report/beta", "report/gamma", "sync"} {
		if err := q.SetSchedule(ctx, name, "@hourly", importJob.With(name), plainjobs.Zone("Europe/Berlin")); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(time.Hour)
	due, err := w.store.StoredSchedules(ctx, backend.StoredRequest{Due: true, Limit: 2})
	if err != nil || len(due.Schedules) != 2 {
		t.Fatalf("StoredSchedules = %v, %v", due, err)
	}
	acme, beta := due.Schedules[0], due.Schedules[1]
	_, err = w.store.TickStored(ctx, []backend.Tick{
		{Name: acme.Name, Definition: acme.Definition, Due: acme.Next, Next: acme.Next.Add(time.Hour), Jobs: []backend.NewJob{acme.Job, acme.Job}},
		{Name: beta.Name, Definition: beta.Definition, Due: beta.Next, Defer: beta.Next.Add(time.Hour), Problem: "unknown time zone Europe/Berlin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := w.must(t, 1, "doctor").out; !strings.Contains(out, "report/beta does not tick: unknown time zone Europe/Berlin") || strings.Contains(out, "report/acme") {
		t.Errorf("doctor printed %s", out)
	}
	if _, err := q.Delete(ctx, plainjobs.Filter{IDs: []int64{1}}); err != nil {
		t.Fatal(err)
	}
	w.golden(t, "stored", "schedules --prefix report/", "schedules --prefix report/ --limit 2", "schedules --after report/beta --limit 2 --json", "schedules report/acme",
		"schedules report/acme --json", "schedules report/acme --next 2", "pause --schedule report/beta", "schedules report/beta", "schedules report/gamma --remove",
		"schedules report/gamma", "schedules report/gama --remove", "schedules sync --remove --json", "backfill report/acme --from 2h", "backfill report/acme --from 2h")
}
