package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// updateEvery is the shortest time between two updates, and updateShare is the part of
	// the time that reading and rendering may take: updates that take long are rarer.
	updateEvery = time.Second
	updateShare = 50
	updateMost  = 30 * time.Second
	// pingEvery is how often a stream without changes sends something, which shows the
	// server that a client is gone, and the client that the server is there.
	pingEvery = 15 * time.Second
	// sendWait is how long a client may take to receive an update.
	sendWait = 10 * time.Second
)

// A hub sends updates to the open pages. One goroutine renders for all of them, and only
// while there are any.
type hub struct {
	// render renders the updates of one page for its streams. It is called by one
	// goroutine at a time.
	render func(ctx context.Context, query url.Values, streams []*stream)

	mu      sync.Mutex
	streams map[*stream]bool
	polling bool
	idle    chan struct{}         // tells the goroutine that no stream is left
	servers map[*http.Server]bool // which end the streams when they shut down
}

// A stream is an open page.
type stream struct {
	r       *http.Request
	query   url.Values // of its page
	updates chan update
	ended   chan struct{}
}

// An update is new content of a page, or a problem.
type update struct {
	event   string // the page, as it is sent
	problem string
	refused bool // the sender may not see the page any more
}

// offer gives a stream its latest update, instead of one that it has not sent yet.
func (s *stream) offer(u update) {
	select {
	case <-s.updates:
	default:
	}
	s.updates <- u
}

// serve sends updates of the page in the query until the client is gone.
func (h *hub) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		return nil
	}
	s := &stream{r: r, query: r.URL.Query(), updates: make(chan update, 1), ended: make(chan struct{})}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy is to pass updates on at once
	send := func(text string) error {
		_ = out.SetWriteDeadline(time.Now().Add(sendWait)) // not every server has deadlines
		if _, err := fmt.Fprint(w, text); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := send("retry: 2000\n\n"); err != nil {
		return nil //nolint:nilerr // the client is gone
	}
	h.add(s)
	defer h.remove(s)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	var last string // what the client has
	var problem string
	for {
		text := ": ping\n\n"
		select {
		case <-r.Context().Done():
			return nil
		case <-s.ended:
			return nil
		case <-ping.C:
		case u := <-s.updates:
			switch {
			case u.refused:
				_ = send("event: refused\ndata: \n\n") // an error is the client's
				return nil
			case u.problem != "" && u.problem == problem:
				continue
			case u.problem != "":
				text = "event: problem\ndata: " + encoded(u.problem) + "\n\n"
				problem, last = u.problem, ""
			case u.event == last:
				continue
			default:
				text = u.event
				problem, last = "", u.event
			}
		}
		if send(text) != nil {
			return nil
		}
	}
}

// pageEvent returns the event that sends the content of a page.
func pageEvent(html string) string { return "event: page\ndata: " + encoded(html) + "\n\n" }

// encoded returns text as JSON, which has no line breaks.
func encoded(text string) string {
	var b strings.Builder
	to := json.NewEncoder(&b)
	to.SetEscapeHTML(false)
	_ = to.Encode(text) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

func (h *hub) add(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams == nil {
		h.streams, h.servers, h.idle = map[*stream]bool{}, map[*http.Server]bool{}, make(chan struct{}, 1)
	}
	h.streams[s] = true
	if server, ok := s.r.Context().Value(http.ServerContextKey).(*http.Server); ok && !h.servers[server] {
		h.servers[server] = true
		server.RegisterOnShutdown(h.end) // it waits for open requests
	}
	if !h.polling {
		h.polling = true
		go h.poll()
	}
}

func (h *hub) remove(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
	h.left()
}

// left wakes the goroutine if no stream is left. The caller has h.mu.
func (h *hub) left() {
	if len(h.streams) == 0 {
		select {
		case h.idle <- struct{}{}:
		default:
		}
	}
}

// end ends all streams.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		close(s.ended)
		delete(h.streams, s)
	}
	h.left()
}

// poll renders updates until no page is open.
func (h *hub) poll() {
	for {
		start := time.Now()
		pages := h.open()
		if pages == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), readWait)
		for _, streams := range pages {
			h.render(ctx, streams[0].query, streams)
		}
		cancel()
		took := time.Since(start)
		next := time.NewTimer(min(max(updateEvery, updateShare*took), updateMost) - took)
		select {
		case <-next.C:
		case <-h.idle:
			next.Stop()
		}
	}
}

// open returns the streams by page, or nil if there are none, which ends the polling.
func (h *hub) open() map[string][]*stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) == 0 {
		h.polling = false
		return nil
	}
	pages := map[string][]*stream{}
	for s := range h.streams {
		key := s.query.Encode()
		pages[key] = append(pages[key], s)
	}
	return pages
}
