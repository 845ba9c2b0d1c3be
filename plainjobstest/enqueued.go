package plainjobstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// RequireEnqueued fails the test at once unless a job with these data was
// performed on the queue, in whatever state it is now, and returns the newest
// that was. Data are compared as they are stored, as JSON.
func RequireEnqueued[T any](tb testing.TB, q *plainjobs.Queue, job *plainjobs.Job[T], data T) plainjobs.Info {
	tb.Helper()
	id, others, err := find(tb, q, job, data)
	if err != nil {
		tb.Fatalf("plainjobstest: %v", err)
	}
	if id == 0 {
		tb.Fatalf("plainjobstest: no job %s was performed with %s%s", job.Name(), encode(data), others)
	}
	info, err := q.Get(tb.Context(), id)
	if err != nil {
		tb.Fatalf("plainjobstest: %v", err)
	}
	return info
}

// RefuteEnqueued fails the test if a job with these data was performed on the
// queue.
func RefuteEnqueued[T any](tb testing.TB, q *plainjobs.Queue, job *plainjobs.Job[T], data T) {
	tb.Helper()
	id, _, err := find(tb, q, job, data)
	if err != nil {
		tb.Fatalf("plainjobstest: %v", err)
	}
	if id != 0 {
		tb.Errorf("plainjobstest: job %s #%d was performed with %s", job.Name(), id, encode(data))
	}
}

// shown is how many other jobs a failure lists.
const shown = 5

func find[T any](tb testing.TB, q *plainjobs.Queue, job *plainjobs.Job[T], data T) (id int64, others string, err error) {
	tb.Helper()
	if q == nil || job == nil {
		tb.Fatal("plainjobstest: nil queue or job")
	}
	reader, ok := (*engine.Handle)(q).Queue().Backend.(backend.Reader)
	if !ok {
		return 0, "", fmt.Errorf("%T does not show its jobs", (*engine.Handle)(q).Queue().Backend)
	}
	want := encode(data)
	var found []string
	for before := int64(0); ; {
		page, err := reader.List(tb.Context(), backend.ListRequest{
			Filter: backend.Filter{Name: job.Name()}, Before: before, Payloads: true,
		})
		if err != nil {
			return 0, "", err
		}
		for _, j := range page.Jobs {
			if bytes.Equal(j.Payload, want) {
				return j.ID, "", nil
			}
			if len(found) < shown {
				found = append(found, fmt.Sprintf("#%d with %.200s", j.ID, j.Payload))
			}
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	if len(found) > 0 {
		others = "; there are " + strings.Join(found, ", ")
	}
	return 0, others, nil
}

func encode(data any) []byte {
	b, err := json.Marshal(data)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}
