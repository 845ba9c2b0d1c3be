package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

type event struct{ kind, data string }

// listen returns the events of a stream, until the test ends.
func (w *world) listen(t *testing.T, path string) <-chan event {
	t.Helper()
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return listen(t, server.URL+path)
}

func listen(t *testing.T, url string) <-chan event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	events := make(chan event)
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		response.Body.Close()
		<-done
	})
	go func() {
		defer close(done)
		defer close(events)
		var e event
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				e.kind = value
			case name == "data":
				_ = json.Unmarshal([]byte(value), &e.data) // an event without data has none
			case name == "" && e.kind != "":
				select {
				case events <- e:
				case <-ctx.Done():
					return
				}
				e = event{}
			}
		}
	}()
	return events
}

// Each stream gets the page and its changes, with times for the client to format.
func TestUpdates(t *testing.T) {
	store := newStore(t)
	w := newWorld(t, store, nil)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	pages := listen(t, server.URL+"/events?page=jobs&name=sum")
	other := listen(t, server.URL+"/events?page=jobs&name=sum")
	for _, events := range []<-chan event{pages, other} {
		e := <-events
		if e.kind != "page" {
			t.Fatalf("got %+v", e)
		}
		contains(t, e.data, `href="job?id=1"`, `<time datetime="`)
		lacks(t, e.data, " ago<", "<html")
	}
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "sum", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	for _, events := range []<-chan event{pages, other} {
		contains(t, (<-events).data, `href="job?id=9"`)
	}
	if err := w.queue.Close(); err != nil {
		t.Fatal(err)
	}
	if e := <-pages; e.kind != "problem" || !strings.Contains(e.data, "closed") {
		t.Errorf("after the queue was closed: %+v", e)
	}
}

// A server that shuts down does not wait for streams.
func TestShutdown(t *testing.T) {
	w := newWorld(t, newStore(t), nil)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	events := listen(t, server.URL+"/events?page=")
	<-events
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	for range events {
	}
}

// countingStore counts the reads of counts.
type countingStore struct {
	backend.Backend
	backend.Reader
	counts atomic.Int64
}

func (s *countingStore) Count(ctx context.Context) ([]backend.Count, error) {
	s.counts.Add(1)
	return s.Reader.Count(ctx)
}

// Many open tabs are read for once, and none is not read for at all.
func TestOnePoller(t *testing.T) {
	inner := newStore(t)
	store := &countingStore{Backend: inner, Reader: inner}
	w := newWorld(t, store, nil)
	h := newHandler(w.queue, &Options{Authorize: everyone})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	var all []<-chan event
	for range 10 {
		all = append(all, listen(t, server.URL+"/events?page=jobs"))
	}
	for _, events := range all {
		<-events
	}
	before := store.counts.Load()
	if _, err := inner.Push(t.Context(), []backend.NewJob{{Name: "sum", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	for _, events := range all {
		<-events
	}
	// A round reads the counts twice: for the names and for the number of jobs.
	if n := store.counts.Load() - before; n > 6 {
		t.Errorf("the counts were read %d times for one change in ten tabs", n)
	}
}
