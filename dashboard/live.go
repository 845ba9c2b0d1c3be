package dashboard

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
)

// renderLive renders a page for its streams, once for all senders with equal roles.
func (h *handler) renderLive(ctx context.Context, query url.Values, streams []*stream) {
	type answer struct {
		rq     *request
		update update
	}
	var done []answer
next:
	for _, s := range streams {
		rq := h.request(s.r)
		rq.live = true
		for _, other := range done {
			if rq.equals(other.rq) {
				s.offer(other.update)
				continue next
			}
		}
		u := h.updateOf(ctx, rq, query)
		done = append(done, answer{rq, u})
		s.offer(u)
	}
}

// equals reports whether the sender has the roles that other's sender has.
func (rq *request) equals(other *request) bool {
	for q, role := range other.roles {
		if rq.role(q.action, q.name) != role {
			return false
		}
	}
	return true
}

func (h *handler) updateOf(ctx context.Context, rq *request, query url.Values) (u update) {
	defer func() {
		if v := recover(); v != nil {
			slog.Error("plainjobs: dashboard: an update panicked", "page", query.Get("page"), "panic", v)
			u = update{problem: "This page has a bug. The program's log has the details."}
		}
	}()
	name := query.Get("page")
	if !rq.maySee("") {
		switch some, err := rq.maySeeSome("events"); {
		case err != nil:
			return update{problem: err.Error()}
		case !some:
			return update{refused: true}
		}
	}
	p := h.pageNamed(name)
	if p == nil {
		return update{problem: "There is no such page."}
	}
	var b strings.Builder
	if err := h.render(ctx, &b, rq, p, query, "live"); err != nil {
		return update{problem: visible(problemOf(err).Error())}
	}
	return update{event: pageEvent(b.String())}
}
