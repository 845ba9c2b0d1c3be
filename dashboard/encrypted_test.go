package dashboard

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/encrypt"
)

// A encrypted payload is shown encrypted and cannot be edited; a copy of the job is encrypted too.
func TestEncryptedPayload(t *testing.T) {
	codec, err := encrypt.New("k", map[string][]byte{"k": bytes.Repeat([]byte("k"), 32)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(nil)
	for name, q := range map[string]*plainjobs.Queue{
		"with the key":    plainjobs.New(store, &plainjobs.Options{Codec: codec}),
		"without the key": plainjobs.New(store, nil),
	} {
		t.Run(name, func(t *testing.T) {
			id, err := plainjobs.New(store, &plainjobs.Options{Codec: codec}).Perform(t.Context(), letters.With(letter{"ada@example.com"}))
			if err != nil {
				t.Fatal(err)
			}
			w := &world{queue: q, Handler: Handler(q, &Options{Authorize: everyone})}
			href := jobHref(id)
			page := w.get(t, http.StatusOK, "/"+href)
			contains(t, page, "encrypted:1:k:")
			lacks(t, page, "ada@example.com", "perform letter")
			again := w.get(t, http.StatusOK, "/"+strings.Replace(href, "job?", "again?", 1))
			contains(t, again, "is encrypted, so it cannot be edited here")
			lacks(t, again, "ada@example.com", "<textarea")
			w.post(t, http.StatusSeeOther, "do=duplicate&"+strings.TrimPrefix(href, "job?"))
			job, err := q.Get(t.Context(), id+1)
			if err != nil || !strings.HasPrefix(string(job.Payload), `"encrypted:1:k:`) {
				t.Fatalf("the copy is %+v, %v", job, err)
			}
			if data, err := codec.Decrypt("letter", job.Payload); err != nil || !strings.Contains(string(data), "ada@example.com") {
				t.Errorf("the copy has the payload %s, %v", data, err)
			}
		})
	}
}
