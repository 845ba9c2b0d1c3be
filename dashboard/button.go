package dashboard

import (
	"net/url"

	"github.com/plainjobs/plainjobs"
)

// A button takes an action.
type button struct {
	Do, Label string
	Grave     bool // it cannot be undone
	Number    bool // it takes a priority
}

// An act is a form with one button.
type act struct {
	button
	Title string     // for people who hear the label without its place, or empty
	Value int16      // of the priority
	Form  url.Values // more fields
}

// With returns the form's other fields for its field "with".
func (a act) With() string { return a.Form.Encode() }

// buttons returns the verbs that apply to a job, and that the sender may take.
func (rq *request) buttons(j *plainjobs.Info) (all []button) {
	if !rq.h.operates() {
		return nil
	}
	for _, v := range verbs {
		if v.takes(j) && rq.may(v.action, j.Name) {
			all = append(all, button{string(v.action), v.label, v.grave, v.action == Prioritize})
		}
	}
	return all
}

// selectable marks the rows of jobs that the sender may change, and returns the verbs that
// apply to one of them.
func (rq *request) selectable(jobs []plainjobs.Info, rows []jobRow) (all []button) {
	some := map[string]button{}
	for i := range jobs {
		for _, b := range rq.buttons(&jobs[i]) {
			rows[i].Select = true
			some[b.Do] = b
		}
	}
	for _, v := range verbs {
		if b, ok := some[string(v.action)]; ok {
			all = append(all, b)
		}
	}
	return all
}
