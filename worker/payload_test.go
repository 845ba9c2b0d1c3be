package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

func TestPayloadDoesNotDecode(t *testing.T) {
	const secret = "hunter2"
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		var log lockedBuffer
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		push := func(payload string) int64 {
			pushed, err := b.Push(t.Context(), []backend.NewJob{{Name: "a", Payload: []byte(payload), MaxAttempts: 2}})
			if err != nil {
				t.Fatal(err)
			}
			return pushed[0].ID
		}
		ids := []int64{push(`{"x":"` + secret + `"}`), push(secret), push(""), push(`12345`)}
		good := perform(t, q, jobA.With(secret))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		eventually(t, "all have run", func() bool {
			return count(t, b, backend.Scheduled) == int64(len(ids)) && state(t, b, good) == backend.Done
		})
		mustStop(t, stop)
		for _, id := range ids {
			i := info(t, b, id)
			if i.Failures != 1 || len(i.Errors) != 1 {
				t.Fatalf("job %d has %d failures, want a failed attempt that is retried", id, i.Failures)
			}
			text := i.Errors[0].Error
			if !strings.Contains(i.Errors[0].Worker, ", pid ") {
				t.Errorf("the error has the worker %q", i.Errors[0].Worker)
			}
			if !strings.Contains(text, fmt.Sprintf("job a #%d", id)) || strings.Contains(text, secret) || strings.Contains(text, "12345") {
				t.Errorf("error is %q: want the job and its ID, and none of the payload", text)
			}
		}
		// The original logged the data of jobs.
		if text := log.String(); strings.Contains(text, secret) || strings.Contains(text, "12345") || !strings.Contains(text, "id="+fmt.Sprint(good)) {
			t.Errorf("the log is %s", text)
		}
	})
}

// A payload of another shape says at which field it does not fit.
func TestDecodeErrorNamesTheField(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	plainjobs.Handle(q, jobOrder, func(context.Context, order) error { return nil })
	pushed, err := b.Push(t.Context(), []backend.NewJob{{Name: "order", Payload: []byte(`{"Item":{"Count":"many"}}`), MaxAttempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	id := pushed[0].ID
	stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{jobOrder}})
	eventually(t, "it has failed", func() bool { return state(t, b, id) == backend.Failed })
	mustStop(t, stop)
	want := fmt.Sprintf("payload of job order #%d does not decode at field Item.Count: a JSON string does not fit the type int", id)
	if got := info(t, b, id).Errors[0].Error; got != want {
		t.Errorf("the error is %q, want %q", got, want)
	}
}

type order struct{ Item struct{ Count int } }

var jobOrder = plainjobs.Declare[order]("order")
