package plainjobstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A Job is a [*plainjobs.Job] or [*plainjobs.ResultJob] with data of a type.
type Job[T any] interface {
	Name() string
	With(data T, opts ...plainjobs.TaskOption) plainjobs.Task
}

// Enqueued returns the data of all jobs of a kind that were performed on the queue, in
// whatever state they are now, oldest first.
func Enqueued[T any](tb testing.TB, q *plainjobs.Queue, job Job[T]) []T {
	tb.Helper()
	var all []T
	for _, j := range enqueued(tb, q, job) {
		all = append(all, decode[T](tb, &j))
	}
	return all
}

// RequireEnqueued fails the test at once unless a job with these data was performed on
// the queue, and returns the newest one, in whatever state it is now. Data are compared
// as they are stored, as JSON.
func RequireEnqueued[T any](tb testing.TB, q *plainjobs.Queue, job Job[T], data T) plainjobs.Info {
	tb.Helper()
	want := encode(data)
	return require(tb, q, job, fmt.Sprintf("with %s", want), func(j *backend.Info) bool { return bytes.Equal(j.Payload, want) })
}

// RequireEnqueuedFunc is [RequireEnqueued] for data of which match returns true.
func RequireEnqueuedFunc[T any](tb testing.TB, q *plainjobs.Queue, job Job[T], match func(data T) bool) plainjobs.Info {
	tb.Helper()
	return require(tb, q, job, "that matches", func(j *backend.Info) bool { return match(decode[T](tb, j)) })
}

// RefuteEnqueued fails the test if a job with these data was performed on the queue.
func RefuteEnqueued[T any](tb testing.TB, q *plainjobs.Queue, job Job[T], data T) {
	tb.Helper()
	want := encode(data)
	for _, j := range enqueued(tb, q, job) {
		if bytes.Equal(j.Payload, want) {
			tb.Errorf("plainjobstest: job %s #%d was performed with %s", job.Name(), j.ID, want)
			return
		}
	}
}

// require returns the newest job for which match returns true.
func require[T any](tb testing.TB, q *plainjobs.Queue, job Job[T], which string, match func(*backend.Info) bool) plainjobs.Info {
	tb.Helper()
	all := enqueued(tb, q, job)
	for _, j := range slices.Backward(all) {
		if match(&j) {
			info, err := q.Get(tb.Context(), j.ID)
			if err != nil {
				tb.Fatalf("plainjobstest: %v", err)
			}
			return info
		}
	}
	others := ""
	for i := range min(len(all), shown) {
		j := all[len(all)-1-i]
		others += fmt.Sprintf(", #%d with %.200s", j.ID, j.Payload)
	}
	if others != "" {
		others = "; there are " + others[len(", "):]
	}
	tb.Fatalf("plainjobstest: no job %s was performed %s%s", job.Name(), which, others)
	return plainjobs.Info{}
}

// shown is how many other jobs a failure lists.
const shown = 5

// enqueued returns the jobs of a kind with their payloads, oldest first.
func enqueued[T any](tb testing.TB, q *plainjobs.Queue, job Job[T]) (all []backend.Info) {
	tb.Helper()
	if q == nil || job == nil || job.Name() == "" {
		tb.Fatal("plainjobstest: nil queue or job")
	}
	reader, ok := (*engine.Handle)(q).Queue().Backend.(backend.Reader)
	if !ok {
		tb.Fatalf("plainjobstest: %T does not show its jobs", (*engine.Handle)(q).Queue().Backend)
	}
	for before := int64(0); ; {
		page, err := reader.List(tb.Context(), backend.ListRequest{
			Filter: backend.Filter{Names: []string{job.Name()}}, Before: before, Payloads: true,
		})
		if err != nil {
			tb.Fatalf("plainjobstest: %v", err)
		}
		for _, j := range page.Jobs {
			if j.Payload, err = (*engine.Handle)(q).Queue().Decrypt(engine.KindPayload, j.Name, j.Payload); err != nil {
				tb.Fatalf("plainjobstest: the data of job %s #%d: %v", j.Name, j.ID, err)
			}
			all = append(all, j)
		}
		if before = page.Next; before == 0 {
			slices.Reverse(all)
			return all
		}
	}
}

func decode[T any](tb testing.TB, j *backend.Info) (data T) {
	tb.Helper()
	if err := json.Unmarshal(j.Payload, &data); err != nil {
		tb.Fatalf("plainjobstest: the data of job %s #%d do not decode: %v", j.Name, j.ID, err)
	}
	return data
}

func encode(data any) []byte {
	b, err := json.Marshal(data)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}
