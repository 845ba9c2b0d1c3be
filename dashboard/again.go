package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/payload"
)

// editedBytes is the size of the largest payload that a page offers to edit.
const editedBytes = 256 << 10

// againPage edits the payload of a job and stores it as a new job.
type againPage struct {
	ID      int64
	Name    string
	Payload string // as text to edit, if Edits is set
	Edits   bool
	Why     string // why it cannot be edited
	Type    string // of the payload, where the program knows it
	Example string
	Problem string // of the payload that was sent
}

func (p *againPage) title() string { return fmt.Sprintf("Perform %s #%d again", p.Name, p.ID) }

func (h *handler) again(ctx context.Context, rq *request, query url.Values) (any, error) {
	id, err := jobID(query.Get("id"))
	if err != nil {
		return nil, err
	}
	j, raw, err := h.get(ctx, rq, id)
	if err != nil {
		return nil, err
	}
	if !rq.may(Duplicate, j.Name) {
		return nil, refused(Duplicate, j.Name)
	}
	if raw.Dropped {
		return nil, dropped(&j)
	}
	return h.againOf(&j, &raw), nil
}

// dropped is the answer for a job that cannot be performed again.
func dropped(j *plainjobs.Info) error {
	return &problem{status: http.StatusConflict, title: "Nothing was changed", hold: true,
		text: fmt.Sprintf("The payload of job #%d was deleted when the job ended. Perform a new one.", j.ID)}
}

// jobID parses the ID of a job.
func jobID(text string) (int64, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "#")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, &problem{status: http.StatusBadRequest, title: "This is not a job's ID", hold: true, text: fmt.Sprintf("%q is not a positive number.", text)}
	}
	return id, nil
}

// againOf returns the page about a job. raw is the job before Redact.
func (h *handler) againOf(j, raw *plainjobs.Info) *againPage {
	p := &againPage{ID: j.ID, Name: visible(j.Name)}
	if d := h.definition(j.Name); d != nil {
		p.Type, p.Example = d.Type.String(), payload.Example(d)
	}
	switch {
	case !bytes.Equal(j.Payload, raw.Payload):
		p.Why = "The payload is not shown in full, so it cannot be edited here. The new job gets the payload as it is stored."
	case encrypted(raw.Payload):
		p.Why = "The payload is encrypted, so it cannot be edited here. The new job gets the payload as it is stored."
	case len(raw.Payload) > editedBytes:
		p.Why = fmt.Sprintf("The payload has %s, too many to edit here. The new job gets the payload as it is stored.", size(len(raw.Payload)))
	case len(raw.Payload) > 0 && !json.Valid(raw.Payload):
		p.Why = "The payload is not JSON, so it cannot be edited here. The new job gets the payload as it is stored."
	default:
		p.Edits, p.Payload = true, editable(raw.Payload)
	}
	return p
}

func (h *handler) definition(name string) *engine.Definition {
	return (*engine.Handle)(h.queue).Queue().Definition(engine.Lookup(name))
}

// editable returns JSON to edit: indented, and with escapes for characters that do not
// show.
func editable(data []byte) string {
	if len(data) == 0 {
		return "null"
	}
	var b strings.Builder
	for _, r := range pretty(data) {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r == '\r':
			b.WriteByte(' ')
		default: // JSON has it only within strings
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}

// duplicate stores a job with the payload of another, or with an edited one.
func (d *deed) duplicate(ctx context.Context, w http.ResponseWriter) error {
	id, err := jobID(d.form.Get("id"))
	if err != nil {
		return err
	}
	j, raw, err := d.h.get(ctx, d.rq, id)
	switch {
	case err != nil:
		return err
	case !d.rq.may(Duplicate, j.Name):
		return refused(Duplicate, j.Name)
	case raw.Dropped:
		return dropped(&j)
	}
	job, err := d.newJob(&raw)
	if err == nil {
		err = d.fits(&job)
	}
	if err != nil {
		p := d.h.againOf(&j, &raw)
		p.Problem = visible(err.Error())
		if p.Edits && d.form.Has("payload") {
			p.Payload = d.form.Get("payload")
		}
		return d.wrong(w, p)
	}
	pushed, err := d.h.backend.Push(ctx, []backend.NewJob{job})
	of := "copy of job #" + strconv.FormatInt(id, 10)
	r := plainjobs.Action{What: string(Duplicate), On: "a " + of, Total: 1}
	if err == nil {
		job := "job #" + strconv.FormatInt(pushed[0].ID, 10)
		r.On = job + ", a " + of
		if r.Jobs = 1; pushed[0].Duplicate {
			r.Jobs, r.On, r.End = 0, "no "+of, job+" has its unique key"
		}
		d.back = jobHref(pushed[0].ID)
	}
	return d.ended(ctx, w, r, err)
}

// newJob returns the job to store in place of raw.
func (d *deed) newJob(raw *plainjobs.Info) (backend.NewJob, error) {
	data := []byte(raw.Payload)
	edited := d.form.Has("payload")
	if edited {
		data = []byte(d.form.Get("payload"))
	}
	if !edited && encrypted(raw.Payload) {
		decrypted, err := d.h.engine().Decrypt(engine.KindPayload, raw.Name, data)
		if err != nil {
			return backend.NewJob{}, err
		}
		data = decrypted
	}
	if def := d.h.definition(raw.Name); def != nil && (edited || !encrypted(data)) {
		return payload.NewJob(def, data)
	}
	job := backend.NewJob{Name: raw.Name, Payload: data, MaxAttempts: raw.MaxAttempts, Priority: raw.Priority}
	if !edited {
		return job, nil
	}
	checked, err := payload.Unchecked(nil, raw.Name, data)
	job.Payload = checked.Payload
	return job, err
}

// encrypted reports whether data are encrypted, as far as this program can tell.
func encrypted(data []byte) bool {
	_, is := encrypt.KeyID(data)
	return is
}

func (h *handler) engine() *engine.Queue { return (*engine.Handle)(h.queue).Queue() }

// fits checks the size of a payload, and encrypts it.
func (d *deed) fits(job *backend.NewJob) error {
	if most := d.h.engine().MaxPayload; len(job.Payload) > most {
		return fmt.Errorf("%w: it has %d bytes, the maximum is %d", plainjobs.ErrPayloadTooLarge, len(job.Payload), most)
	}
	return d.h.engine().EncryptJob(job)
}

// wrong shows a form again, with what is wrong in it.
func (d *deed) wrong(w http.ResponseWriter, p *againPage) error {
	l := d.h.layout(d.h.pageNamed("again"), d.rq.now)
	l.Title, l.Data = p.title(), p
	var b bytes.Buffer
	if err := templates()["again"].ExecuteTemplate(&b, "layout", l); err != nil {
		return err
	}
	return writePage(w, http.StatusUnprocessableEntity, &b)
}
