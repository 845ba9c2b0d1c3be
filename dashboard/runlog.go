package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs"
)

// A logView is what the handler of one run has logged.
type logView struct {
	Title string
	When  moment
	Text  string
	Size  string // of the whole, if the text is only its end
	Open  bool
}

// logs returns the logs of a job's runs, the latest first.
func (rq *request) logs(j *plainjobs.Info) (all []logView) {
	for i := range slices.Backward(j.Logs) {
		l := &j.Logs[i]
		v := logView{Title: fmt.Sprintf("Attempt %d", l.Attempt), When: rq.moment(l.At), Text: l.Text, Open: i == len(j.Logs)-1}
		if len(v.Text) > shownBytes {
			v.Size = size(len(v.Text))
			v.Text = v.Text[len(v.Text)-shownBytes:]
			if _, lines, ok := strings.Cut(v.Text, "\n"); ok {
				v.Text = lines
			}
		}
		v.Text = visible(v.Text)
		all = append(all, v)
	}
	return all
}
