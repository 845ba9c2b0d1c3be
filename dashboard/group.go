package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// groupsPage is a list of groups.
type groupsPage struct {
	Rows        []groupRow
	All         bool // also those that have ended
	Other       string
	Next, First string
}

// A groupRow is a group as a row or as a branch of a tree.
type groupRow struct {
	ID       int64
	Href     string
	Label    string
	State    string // paused, not sealed, open, ended or done
	Mark     string // the state whose colour it has
	Members  string
	Percent  int64
	Waiting  int64
	Created  moment
	Ended    moment
	Branches []branch // in a tree
}

// A branch is what belongs to a group: a job or a group.
type branch struct {
	Role  string // of the job
	Job   *jobRow
	Group *groupRow
}

// groupPage is a group with what belongs to it.
type groupPage struct {
	Group    groupRow
	Kind     string   // Group or Flow
	Graph    *drawing // of a flow
	Facts    []fact
	Members  string // the URL of its members
	Failed   string // of the failed members, if there are some
	Commands []command
	Act      *act // pauses or resumes it, or nil
	More     bool // there are more groups in it than are shown
}

func (p *groupPage) title() string { return p.Kind + " " + strconv.FormatInt(p.Group.ID, 10) }

// groupRows is the number of groups on a page.
const groupRows = 50

func (h *handler) groups(ctx context.Context, rq *request, query url.Values) (any, error) {
	before := int64(0)
	if text := query.Get("before"); text != "" {
		var err error
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			return nil, wrong("before=%s is not a group's ID, after which a page begins.", text)
		}
	}
	p := &groupsPage{All: query.Get("all") != "", Other: "groups?all=yes"}
	here := "groups?"
	if p.All {
		p.Other, here = "groups", "groups?all=yes&"
	}
	groups, next, err := h.queue.Groups(ctx, !p.All, before, groupRows)
	if err != nil {
		return nil, err
	}
	for i := range groups {
		row := rq.groupRow(&groups[i])
		row.Label = cut(groups[i].Label, 60)
		p.Rows = append(p.Rows, row)
	}
	if next != 0 {
		p.Next = here + "before=" + strconv.FormatInt(next, 10)
	}
	if before != 0 {
		p.First = strings.TrimRight(here, "?&")
	}
	return p, nil
}

// groupRow returns a group as a row.
func (rq *request) groupRow(g *backend.GateInfo) groupRow {
	r := groupRow{
		ID: g.ID, Href: groupHref(g.ID), Label: visible(g.Label), State: engine.GroupState(g), Members: engine.GroupProgress(g),
		Percent: 100, Waiting: g.Waiting, Created: rq.ago(g.CreatedAt), Ended: rq.ago(g.EndedAt),
	}
	if g.Total > 0 {
		r.Percent = 100 * (g.Total - g.Open) / g.Total
	}
	switch {
	case r.State == "paused":
		r.Mark = "paused"
	case g.Failed > 0:
		r.Mark = "failed"
	case g.Cancelled > 0, !g.Sealed:
		r.Mark = "cancelled"
	case g.EndedAt.IsZero():
		r.Mark = "running"
	default:
		r.Mark = "done"
	}
	return r
}

func groupHref(id int64) string { return "group?id=" + strconv.FormatInt(id, 10) }

func (h *handler) group(ctx context.Context, rq *request, query url.Values) (any, error) {
	id, err := strconv.ParseInt(query.Get("id"), 10, 64)
	if err != nil || id < 1 {
		return nil, &problem{status: 400, title: "The address is wrong", hold: true, text: "A group's ID is a positive number."}
	}
	g, err := engine.TreeOf(ctx, h.backend, id)
	if errors.Is(err, plainjobs.ErrNotFound) {
		return nil, &problem{status: 404, title: "There is no such group", hold: true,
			text: "Group " + grouped(id) + " does not exist, or was deleted: a group is deleted some time after its end."}
	}
	if err != nil {
		return nil, err
	}
	p := &groupPage{Group: rq.groupTree(g), Kind: "Group", More: g.More, Members: jobsHref(plainjobs.Filter{Group: id})}
	if g.GateInfo.Failed > 0 {
		p.Failed = jobsHref(plainjobs.Filter{Group: id, States: []plainjobs.State{plainjobs.Failed}})
	}
	p.Facts = append(p.Facts, fact{Label: "Created", When: p.Group.Created})
	if !g.Deadline.IsZero() {
		p.Facts = append(p.Facts, fact{Label: "Deadline", When: rq.ago(g.Deadline)})
	}
	if !g.EndedAt.IsZero() {
		p.Facts = append(p.Facts, fact{Label: "Ended", When: p.Group.Ended}, fact{Label: "Took", Text: short(g.EndedAt.Sub(g.CreatedAt))})
	}
	if g.Parent != 0 {
		p.Facts = append(p.Facts, fact{Label: "In group", Text: grouped(g.Parent), Href: groupHref(g.Parent)})
	}
	if p.Graph, err = h.draw(ctx, rq, &g.GateInfo); err != nil {
		return nil, err
	}
	name := h.opts.Program + " group " + strconv.FormatInt(id, 10)
	shows := name
	if p.Graph != nil {
		p.Kind = "Flow"
		shows = h.opts.Program + " flow " + strconv.FormatInt(id, 10)
	}
	p.Commands = append(p.Commands, command{shows, "the same in the terminal"})
	if !g.Sealed {
		p.Commands = append(p.Commands, command{name + " --seal", "let it end: its program adds no more members"})
	}
	if g.EndedAt.IsZero() {
		p.Commands = append(p.Commands, command{name + " --cancel", "cancel its members"})
		p.Act = rq.pauseGroup(&g.GateInfo)
	}
	p.Commands = append(p.Commands, command{name + " --delete", "delete it with its members"})
	return p, nil
}

// groupTree returns a group with what belongs to it and the sender may see.
func (rq *request) groupTree(g *engine.GroupTree) groupRow {
	row := rq.groupRow(&g.GateInfo)
	add := func(role string, j *backend.Info) {
		if !rq.maySee(j.Name) {
			return
		}
		info := plainjobs.Info{
			ID: j.ID, Name: j.Name, State: j.State, Attempt: attemptOf(j), MaxAttempts: j.MaxAttempts, Failures: j.Failures, CreatedAt: j.CreatedAt,
			RunAt: j.RunAt, FinishedAt: j.FinishedAt, StartedAt: j.StartedAt, Errors: j.Errors, CallbackOf: callbackOf(j),
		}
		rq.redact(&info)
		r := rq.row(&info)
		row.Branches = append(row.Branches, branch{Role: role, Job: &r})
	}
	for i := range g.Callbacks {
		add(engine.CallbackName(g.Callbacks[i].Gating.When), &g.Callbacks[i])
	}
	for _, inner := range g.Inner {
		r := rq.groupTree(inner)
		row.Branches = append(row.Branches, branch{Group: &r})
	}
	for i := range g.Failed {
		add("Member", &g.Failed[i])
	}
	return row
}

// gatingFacts returns the groups of a job.
func gatingFacts(j *plainjobs.Info) (facts []fact) {
	for _, id := range j.Groups {
		facts = append(facts, fact{Label: "In group", Text: grouped(id), Href: groupHref(id)})
	}
	if j.CallbackOf != 0 {
		facts = append(facts, fact{Label: j.CallbackOn + " of group", Text: grouped(j.CallbackOf), Href: groupHref(j.CallbackOf)})
	}
	return facts
}

// callbackOf returns the group whose callback a job is, or zero.
func callbackOf(j *backend.Info) int64 {
	if j.Gating == nil || j.Gating.When.Needs() {
		return 0
	}
	return j.Gating.Gate
}

// pauseGroup returns the form that pauses or resumes a group, or nil if the sender may not. It
// takes the right to pause all jobs, because members may have any name.
func (rq *request) pauseGroup(g *backend.GateInfo) *act {
	if !rq.may(Pause, "") {
		return nil
	}
	a := &act{button: button{Do: "pause-group", Label: "Pause"}, Form: url.Values{"group": {strconv.FormatInt(g.ID, 10)}, "back": {groupHref(g.ID)}}}
	if g.Paused {
		a.Do, a.Label = "resume-group", "Resume"
	}
	return a
}

// pauseGroup pauses or resumes a group.
func (d *deed) pauseGroup(ctx context.Context, w http.ResponseWriter) error {
	id, err := strconv.ParseInt(d.form.Get("group"), 10, 64)
	switch {
	case err != nil || id < 1:
		return &problem{status: http.StatusBadRequest, title: "Nothing was changed", hold: true, text: "A group's ID is a positive number."}
	case !d.rq.may(Pause, ""):
		return refused(Pause, "")
	}
	r := plainjobs.Action{What: d.form.Get("do"), On: "group " + strconv.FormatInt(id, 10)}
	group := d.h.queue.GroupByID(id)
	if r.What == "pause-group" {
		err = group.Pause(ctx)
	} else {
		err = group.Resume(ctx)
	}
	if errors.Is(err, plainjobs.ErrNotFound) {
		return &problem{status: http.StatusNotFound, title: "There is no such group", hold: true, text: "Group " + grouped(id) + " does not exist, or was deleted."}
	}
	return d.ended(ctx, w, r, err)
}
