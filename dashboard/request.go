package dashboard

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs"
)

// A request is one rendering of a page for the sender of an HTTP request.
type request struct {
	h     *handler
	r     *http.Request
	now   time.Time
	live  bool              // an update: the client formats times
	roles map[question]Role // the answers of Authorize
}

// A question is what Authorize is asked about a sender.
type question struct {
	action Action
	name   string
}

func (h *handler) request(r *http.Request) *request {
	return &request{h: h, r: r, now: time.Now(), roles: map[question]Role{}}
}

// maySee reports whether the sender may see jobs of a name, or, with an empty name, pages
// about the whole queue.
func (rq *request) maySee(name string) bool { return rq.role(View, name) >= Read }

// may reports whether the sender may take an action, which is not View, on jobs of a name.
func (rq *request) may(action Action, name string) bool { return rq.role(action, name) >= Full }

func (rq *request) role(action Action, name string) Role {
	q := question{action, name}
	role, known := rq.roles[q]
	if !known {
		role = rq.h.opts.Authorize(rq.r, action, name)
		rq.roles[q] = role
	}
	return role
}

// maySeeSome reports whether the sender, who may not see the whole queue, may see a page
// that leaves out what is hidden: the lists of jobs. An error does not show what the store
// says, because the sender may be anyone.
func (rq *request) maySeeSome(page string) (bool, error) {
	if page == "events" {
		page = rq.r.URL.Query().Get("page")
	}
	if page != "" && page != "jobs" && page != "job" && page != "raw" && page != "again" && page != "act" && page != "change" && page != "action" && page != "actions" {
		return false, nil
	}
	ctx := rq.r.Context()
	counts, err := rq.h.queue.Counts(ctx)
	if err != nil {
		return false, &problem{status: http.StatusServiceUnavailable, title: "The store does not answer", text: "So it is not known what you may see."}
	}
	for _, c := range counts {
		if rq.maySee(c.Name) {
			return true, nil
		}
	}
	return false, nil
}

// hides reports whether payloads and results of a job are not shown.
func (h *handler) hides(name string) bool {
	d := h.definition(name)
	return d != nil && d.HidePayload
}

// hiddenPayload is shown in place of a payload or a result.
var hiddenPayload = json.RawMessage(`"hidden"`)

// redact changes a job as its option HidePayload and Options.Redact say.
func (rq *request) redact(job *plainjobs.Info) {
	if rq.h.hides(job.Name) {
		if job.Payload != nil {
			job.Payload = hiddenPayload
		}
		if job.Result != nil {
			job.Result = hiddenPayload
		}
		job.Logs = nil // which may have parts of the payload
	}
	if rq.h.opts.Redact != nil {
		job.Errors, job.Logs = slices.Clone(job.Errors), slices.Clone(job.Logs)
		rq.h.opts.Redact(job)
	}
}
