package dashboard

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
)

// confirmPage asks whether to do what a form asks for. It has the form's fields.
type confirmPage struct {
	Text, Button string
	Do, With     string // see deed.form
	Back         string
}

// confirm asks whether to apply a verb to jobs.
func (d *deed) confirm(w http.ResponseWriter, v *verb, ids []int64) error {
	d.form["id"] = nil
	for _, id := range ids {
		d.form.Add("id", strconv.FormatInt(id, 10))
	}
	text := "This cannot be undone."
	if v.action == Cancel {
		text = "A waiting job ends at once. The context of a running job is cancelled when its worker learns of it."
	}
	what := fmt.Sprintf("%s %s", v.label, idList(ids))
	return d.ask(w, what+"?", text, what)
}

// ask asks with a page of its own, so that a confirmation needs no JavaScript.
func (d *deed) ask(w http.ResponseWriter, title, text, button string) error {
	d.form.Set("sure", "yes")
	d.form.Set("back", d.back)
	p := &confirmPage{Text: text, Button: button, Do: d.form.Get("do"), With: d.form.Encode(), Back: d.back}
	l := d.h.layout(&page{title: title}, d.rq.now)
	l.Data = p
	var b bytes.Buffer
	if err := templates()["confirm"].ExecuteTemplate(&b, "layout", l); err != nil {
		return err
	}
	return writePage(w, http.StatusOK, &b)
}
