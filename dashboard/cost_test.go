package dashboard

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	driver "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// An update of a page takes as many statements for ten tabs as for one. -v prints them.
// They are what an open page costs: there is at most one update a second, and none without
// a visible tab.
func TestUpdateCost(t *testing.T) {
	var statements atomic.Int64
	counted := &faultdriver.Driver{Driver: &driver.Driver{}, Before: faultdriver.Statements(func(string) error {
		statements.Add(1)
		return nil
	})}
	store, err := sqlite.Open(counted, filepath.Join(t.TempDir(), "jobs.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	failing(t, store, 100, "a", "b", "c")
	h := newHandler(plainjobs.New(store, nil), &Options{Authorize: everyone})
	for _, page := range h.pages {
		if !page.menu {
			continue
		}
		query := url.Values{"page": {page.name}}
		update := func(tabs int) int64 {
			var streams []*stream
			for range tabs {
				streams = append(streams, &stream{r: httptest.NewRequest(http.MethodGet, "/events", nil), query: query, updates: make(chan update, 1)})
			}
			before := statements.Load()
			h.renderLive(t.Context(), query, streams)
			for i, s := range streams {
				if u := <-s.updates; u.problem != "" || u.event == "" {
					t.Errorf("tab %d of page %q gets %+v", i, page.name, u)
				}
			}
			return statements.Load() - before
		}
		update(1)
		h.freshen(t)
		one, ten := update(1), update(10)
		t.Logf("%-18s %d statements", page.title, one)
		most := int64(2)
		switch page.name {
		case "":
			most = 1 // the counts
		case "jobs":
			most = 8
		}
		if one > most || ten > most {
			t.Errorf("an update of page %q takes %d statements for one tab and %d for ten, want at most %d", page.name, one, ten, most)
		}
	}
}

// freshen waits for what is read in the background, and keeps it for a while.
func (h *handler) freshen(t *testing.T) {
	t.Helper()
	h.checkup.get(t.Context())
	h.checkup.mu.Lock()
	ended := h.checkup.ended
	h.checkup.mu.Unlock()
	if ended != nil {
		<-ended
	}
	_, _ = h.crew.get(t.Context(), 0) // its error is the pages'
	_, _ = h.running.get(t.Context(), 0)
	_, _ = h.names.get(t.Context(), time.Minute)
	h.crew.keep(time.Minute)
	h.names.keep(time.Minute)
	h.failures.mu.Lock()
	defer h.failures.mu.Unlock()
	for key, last := range h.failures.last {
		last.read = time.Now()
		h.failures.last[key] = last
	}
	h.running.keep(time.Minute)
}

// keep makes the last answer one that took a time, and so is kept for longer.
func (r *reading[T]) keep(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer.took = took
}
