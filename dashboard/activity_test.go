package dashboard

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/histogram"
)

// sendActivity stores runs of a name in the last full minute.
func sendActivity(t *testing.T, store backend.Heartbeater, all ...backend.Activity) {
	t.Helper()
	for i := range all {
		all[i].At = time.Now().Truncate(time.Minute).Add(-time.Minute)
	}
	req := backend.HeartbeatRequest{Worker: backend.Worker{ID: 77, Lease: time.Hour}, Activity: all}
	if _, err := store.Heartbeat(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

func durations(all ...time.Duration) []byte {
	var h histogram.Histogram
	for _, d := range all {
		h.Record(d)
	}
	return h.Append(nil)
}

// The overview adds up the runs of the names that the sender may see, and shows hostile
// names as text.
func TestActivity(t *testing.T) {
	store := newStore(t)
	sendActivity(t, store,
		backend.Activity{Name: "invoice", Done: 1200, Failed: 34, Retried: 5, Waited: durations(4 * time.Millisecond), Ran: durations(3*time.Second, 90*time.Second)},
		backend.Activity{Name: "secret", Done: 7777},
		backend.Activity{Name: "</svg><script>\u202e", Cancelled: 1},
	)
	w := newWorld(t, store, &Options{Authorize: func(_ *http.Request, _ Action, name string) Role {
		if name == "secret" {
			return None
		}
		return Full
	}})
	for _, span := range []string{"hour", "day", "week", "nonsense"} {
		page := w.get(t, 200, "/?span="+span)
		contains(t, page, "1,240 runs", "1,200 done", "34 failed", "5 to be retried", "1 cancelled", `<a href="jobs?name=invoice"><bdi>invoice</bdi></a>`,
			"&lt;/svg&gt;&lt;script&gt;", "At most 40 at once", `p99 88 s`)
		lacks(t, page, "secret", "7,777", "</svg><script>", "\u202e", "style=")
		if n := strings.Count(page, "<svg "); n != 4 {
			t.Errorf("span %s has %d charts, want 4", span, n)
		}
	}
	table := w.get(t, 200, "/?as=table")
	contains(t, table, "Show as charts", "1,200")
	lacks(t, table, "<svg ")
	if n := strings.Count(table, `<th scope="row"><time`); n != 60 {
		t.Errorf("the table has %d minutes, want 60", n)
	}
}

// A step that is shown is over, but for the current hour.
func TestSteps(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 17, 30, 0, time.UTC)
	for name, want := range map[string][2]string{"hour": {"01 09:17", "01 10:16"}, "day": {"28 11:00", "01 10:00"}, "week": {"22 11:00", "01 10:00"}} {
		s := spanNamed(name)
		first, n := s.steps(now)
		if got := [2]string{first.Format("02 15:04"), first.Add(time.Duration(n-1) * s.step).Format("02 15:04")}; got != want {
			t.Errorf("%s: the steps begin from %v to %v, want %v", name, got[0], got[1], want)
		}
	}
}

func TestCharts(t *testing.T) {
	steps := []*tally{{}, {Done: 1}, {Done: 1_000_000, Failed: 1}, {}}
	steps[1].ran.Record(2 * time.Millisecond)
	steps[2].ran.Record(time.Hour)
	for _, c := range chartsOf(steps) {
		for _, s := range c.Series {
			if strings.Contains(s.Path, "NaN") || strings.Contains(s.Path, "Inf") || strings.Contains(s.Path, "--") {
				t.Errorf("%s %s has the path %s", c.Key, s.Label, s.Path)
			}
		}
	}
	if c := chartsOf(steps)[1]; c.Series[0].Path != "M315 0h120v100h-120z" {
		t.Errorf("a single failure has the path %s", c.Series[0].Path)
	}
	if c := chartsOf(steps)[3]; c.Top != "2 h 46 min" || c.Bottom != "1 ms" {
		t.Errorf("the scale of the time run is from %s to %s", c.Bottom, c.Top)
	}
	for _, c := range chartsOf([]*tally{{}}) {
		for _, s := range c.Series {
			if s.Path != "" {
				t.Errorf("without runs %s has the path %s", c.Key, s.Path)
			}
		}
	}
	for n, want := range map[int64]string{0: "none", 3: "3 an hour", 90: "1.5 a minute", 7200: "2 a second", 3_600_000: "1,000 a second"} {
		if got := rate(n, time.Hour); got != want {
			t.Errorf("%d an hour are %q, want %q", n, got, want)
		}
	}
}
