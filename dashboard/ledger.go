package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// A record is an action that a sender has taken.
type record struct {
	ID          int64
	By          string // who
	What        string // one of deeds
	Target      string // on what
	Jobs, Total int64  // how many were changed, of how many
	End         string // why it did not do all that it should, if so
}

// A ledger has the latest actions of this process.
type ledger struct {
	mu      sync.Mutex
	last    int64
	records map[int64]record
}

// ledgerMost is how many actions are kept.
const ledgerMost = 1000

// record logs an action and keeps it. It returns its ID.
func (h *handler) record(ctx context.Context, rq *request, r record) int64 {
	r.By = h.who(rq.r)
	log := (*engine.Handle)(h.queue).Queue().Log()
	attrs := []slog.Attr{slog.String("by", r.By), slog.String("action", r.What), slog.String("on", r.Target)}
	if r.Total > 0 {
		attrs = append(attrs, slog.Int64("jobs", r.Jobs))
	}
	if r.End != "" {
		attrs = append(attrs, slog.String("error", r.End))
	}
	log.LogAttrs(ctx, slog.LevelInfo, "plainjobs: dashboard: an action", attrs...)
	l := &h.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records == nil {
		l.records = map[int64]record{}
	}
	l.last++
	r.ID = l.last
	l.records[r.ID] = r
	delete(l.records, r.ID-ledgerMost)
	return r.ID
}

// who returns the sender of a request.
func (h *handler) who(r *http.Request) string {
	if h.opts.User != nil {
		return h.opts.User(r)
	}
	if user, _, ok := r.BasicAuth(); ok && user != "" {
		return user
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return cmp.Or(host, "unknown")
}

// message says what an action of the sender did, or is empty if there is no such action.
func (h *handler) message(rq *request, did string) string {
	id, err := strconv.ParseInt(did, 10, 64)
	if err != nil {
		return ""
	}
	l := &h.ledger
	l.mu.Lock()
	r := l.records[id]
	l.mu.Unlock()
	if r.By != h.who(rq.r) {
		return ""
	}
	return visible(r.sentence())
}

// sentence says what an action did.
func (r *record) sentence() string {
	text := ""
	if v := verbOf(Action(r.What)); v != nil {
		switch {
		case r.Jobs == r.Total:
			text = fmt.Sprintf("%s: %s.", capital(v.past), r.Target)
		case r.Jobs == 0:
			text = fmt.Sprintf("Nothing was %s: %s.", v.past, r.Target)
		default:
			text = fmt.Sprintf("%s: %s of %s (%s).", capital(v.past), grouped(r.Jobs), grouped(r.Total), r.Target)
		}
	} else {
		text = fmt.Sprintf("%s %s.", pastOf[r.What], r.Target)
	}
	if r.End != "" {
		text += " " + capital(r.End) + "."
	}
	return text
}

var pastOf = map[string]string{
	"pause": "Paused", "resume": "Resumed", "pause-schedule": "Paused", "resume-schedule": "Resumed", "run-schedule": "Ran", string(Duplicate): "Stored",
}

func capital(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return string(text[0]-'a'+'A') + text[1:]
}
