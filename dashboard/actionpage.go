package dashboard

import (
	"context"
	"net/url"
	"strconv"

	"github.com/plainjobs/plainjobs"
)

// An actionRow is an action in the list, or on its page.
type actionRow struct {
	ID          int64
	At, Seen    moment
	By, What    string
	On          string
	Jobs, Total string
	State       string // running, done, stopped or silent
	End         string
	Percent     int // or -1
	Stop        *act
}

func (a *actionRow) title() string { return a.What + ": " + a.On }

// oldActions is how many actions a page lists.
const oldActions = 50

type actionsPage struct {
	Rows        []actionRow
	Next, First string
	Own         bool // only the sender's
}

func (h *handler) actionsPage(ctx context.Context, rq *request, query url.Values) (any, error) {
	before := int64(0)
	if text := query.Get("before"); text != "" {
		var err error
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			return nil, wrong("before=%s is not the ID of an action.", visible(text))
		}
	}
	all, err := h.actions(ctx, before, oldActions)
	if err != nil {
		return nil, err
	}
	p := &actionsPage{Own: !rq.maySee("")}
	if before != 0 {
		p.First = "actions"
	}
	if len(all) == oldActions {
		p.Next = "actions?before=" + strconv.FormatInt(all[len(all)-1].ID, 10)
	}
	for i := range all {
		if !p.Own || all[i].By == h.who(rq.r) {
			p.Rows = append(p.Rows, rq.actionRow(&all[i]))
		}
	}
	return p, nil
}

func (h *handler) actionPage(ctx context.Context, rq *request, query url.Values) (any, error) {
	id, err := jobID(query.Get("id"))
	if err != nil {
		return nil, err
	}
	a, found, err := h.action(ctx, rq, id)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, noAction(id)
	}
	row := rq.actionRow(&a)
	if row.State == "running" || row.State == "silent" {
		if a.By == h.who(rq.r) || rq.may(Action(a.What), "") {
			row.Stop = &act{button: button{Do: "stop", Label: "Stop"}, Form: url.Values{"id": {strconv.FormatInt(id, 10)}}}
		}
	}
	return &row, nil
}

// actionRow returns an action as a row.
func (rq *request) actionRow(a *plainjobs.Action) actionRow {
	r := actionRow{
		ID: a.ID, At: rq.ago(a.At), Seen: rq.ago(a.SeenAt), By: visible(a.By), What: a.What, On: visible(a.On), Jobs: grouped(a.Jobs), Percent: -1, End: visible(a.End),
	}
	v := verbOf(Action(a.What))
	switch {
	case v != nil:
		r.What = v.label
	case pastOf[a.What] != "":
		r.What = capital(a.What)
	}
	if v == nil && a.Total == 0 {
		r.Jobs = ""
	}
	if a.Total >= 0 {
		r.Total = grouped(a.Total)
	}
	switch {
	case a.End == done:
		r.State, r.End = "done", ""
	case a.End != "":
		r.State = "stopped"
	case rq.now.Sub(a.SeenAt) > sweepSilent:
		r.State = "silent"
	default:
		r.State = "running"
	}
	if a.Total > 0 && a.End == "" {
		r.Percent = int(min(100, 100*float64(a.Jobs)/float64(a.Total)))
	}
	return r
}
