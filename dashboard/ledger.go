package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// done is the end of an action that did all that it was to do.
const done = "done"

// A ledger has the latest actions of this process, for a store that keeps none.
type ledger struct {
	mu      sync.Mutex
	last    int64
	actions []plainjobs.Action // the oldest first
}

func (l *ledger) record(a plainjobs.Action) plainjobs.Action {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	a.ID, a.At, a.SeenAt = l.last, time.Now(), time.Now()
	l.actions = append(l.actions, a)
	l.actions = l.actions[max(0, len(l.actions)-backend.KeepActions):]
	return a
}

func (l *ledger) list(before int64, limit int) (all []plainjobs.Action) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range slices.Backward(l.actions) {
		if (before == 0 || a.ID < before) && len(all) < limit {
			all = append(all, a)
		}
	}
	return all
}

// record logs an action of the sender, emits its event and keeps it. It returns the action
// as it is kept. Its error does not undo the action.
func (h *handler) record(ctx context.Context, by string, a plainjobs.Action) (plainjobs.Action, error) {
	if a.ID == 0 {
		a.By, a.On = prefix(backend.CleanError(by), 255), prefix(backend.CleanError(a.On), 1024)
	}
	a.End = prefix(backend.CleanError(a.End), 1024)
	q := (*engine.Handle)(h.queue).Queue()
	var stored plainjobs.Action
	var err error
	if operator, ok := h.backend.(backend.Operator); ok {
		stored, err = operator.RecordAction(ctx, a)
	} else {
		stored = h.ledger.record(a)
	}
	if err != nil || a.ID == 0 || a.End != "" {
		h.announce(ctx, q, cmp.Or(stored, a), err)
	}
	return stored, err
}

// announce logs an action that begins or ends, and emits its event.
func (h *handler) announce(ctx context.Context, q *engine.Queue, a plainjobs.Action, err error) {
	attrs := []slog.Attr{slog.Int64("id", a.ID), slog.String("by", a.By), slog.String("action", a.What), slog.String("on", a.On), slog.Int64("jobs", a.Jobs)}
	if a.End != "" {
		attrs = append(attrs, slog.String("end", a.End))
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("unrecorded", err.Error()))
	}
	q.Log().LogAttrs(ctx, level, "plainjobs: dashboard: an action", attrs...)
	if q.Events.Wanted() {
		q.Events.Emit(q.Log(), engine.Event{Kind: engine.Acted, Job: &backend.Job{}, Action: &a})
	}
}

// actions returns the latest actions below an ID, or below none if before is zero.
func (h *handler) actions(ctx context.Context, before int64, limit int) ([]plainjobs.Action, error) {
	all, err := h.queue.Actions(ctx, before, limit)
	if errors.Is(err, errors.ErrUnsupported) {
		return h.ledger.list(before, limit), nil
	}
	return all, err
}

// action returns an action that the sender may see: who may not see the whole queue sees
// only the own ones.
func (h *handler) action(ctx context.Context, rq *request, id int64) (a plainjobs.Action, found bool, err error) {
	if id < 1 || id == 1<<63-1 {
		return a, false, nil
	}
	all, err := h.actions(ctx, id+1, 1)
	if err != nil || len(all) == 0 || all[0].ID != id {
		return a, false, err
	}
	return all[0], rq.maySee("") || all[0].By == h.who(rq.r), nil
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
func (h *handler) message(ctx context.Context, rq *request, did string) string {
	id, err := strconv.ParseInt(did, 10, 64)
	if err != nil {
		return ""
	}
	a, found, err := h.action(ctx, rq, id)
	if err != nil || !found || a.By != h.who(rq.r) {
		return ""
	}
	return visible(sentence(&a))
}

// sentence says what an action did.
func sentence(a *plainjobs.Action) string {
	text := ""
	if v := verbOf(Action(a.What)); v != nil {
		switch {
		case a.Jobs == a.Total:
			text = fmt.Sprintf("%s: %s.", capital(v.past), a.On)
		case a.Jobs == 0:
			text = fmt.Sprintf("Nothing was %s: %s.", v.past, a.On)
		case a.Total < 0:
			text = fmt.Sprintf("%s: %s (%s).", capital(v.past), plural(a.Jobs, "job"), a.On)
		default:
			text = fmt.Sprintf("%s: %s of %s (%s).", capital(v.past), grouped(a.Jobs), grouped(a.Total), a.On)
		}
	} else {
		text = fmt.Sprintf("%s %s.", pastOf[a.What], a.On)
	}
	if a.End != "" && a.End != done {
		text += " " + capital(a.End) + "."
	}
	return text
}

var pastOf = map[string]string{
	"override": "Changed the limits of", "reset": "Reset the limits of",
	"pause": "Paused", "resume": "Resumed", "pause-schedule": "Paused", "resume-schedule": "Resumed", "pause-group": "Paused", "resume-group": "Resumed", "run-schedule": "Ran", string(Duplicate): "Stored",
}

func capital(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return string(text[0]-'a'+'A') + text[1:]
}
