package plainjobstest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var encrypted = plainjobs.Declare[string]("encrypted")

// Queues for tests encrypt as others do, and the helpers see the data.
func TestEncrypted(t *testing.T) {
	codec, err := encrypt.New("k", map[string][]byte{"k": make([]byte, 32)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	options := plainjobstest.Queue(plainjobs.Options{Codec: codec, EncryptErrors: true, OnError: func(_ context.Context, job *plainjobs.Info, err error) {
		if string(job.Payload) != `"bad"` || err.Error() != "secret" {
			t.Errorf("OnError got %s, %v", job.Payload, err)
		}
	}})
	handler := func(ctx context.Context, data string) error {
		if data == "bad" {
			return errors.New("secret")
		}
		step, err := plainjobs.Step(ctx, "step", func(context.Context) (string, error) { return data, nil })
		if step != "good" {
			t.Errorf("the step is %q", step)
		}
		return err
	}
	ctx, q := plainjobstest.Inline(t, options)
	plainjobs.Handle(q, encrypted, func(ctx context.Context, data string) error {
		for range 2 { // the second call reads what the first has stored
			step, err := plainjobs.StepTx(ctx, nil, "step in a transaction", func() (string, error) { return data, nil })
			if err != nil || step != data {
				t.Errorf("StepTx = %q, %v", step, err)
			}
		}
		return handler(ctx, data)
	})
	if _, err := plainjobs.Perform(ctx, encrypted.With("good")); err != nil {
		t.Error(err)
	}
	if _, err := plainjobs.Perform(ctx, encrypted.With("bad", plainjobs.MaxAttempts(1))); err == nil || err.Error() == "" {
		t.Errorf("Perform = %v", err)
	}
	_, q = plainjobstest.Memory(t, options)
	plainjobs.Handle(q, encrypted, handler)
	for _, data := range []string{"good", "bad"} {
		if _, err := q.Perform(t.Context(), encrypted.With(data, plainjobs.MaxAttempts(1))); err != nil {
			t.Fatal(err)
		}
	}
	if job := plainjobstest.RequireEnqueued(t, q, encrypted, "good"); !strings.HasPrefix(string(job.Payload), `"encrypted:1:k:`) {
		t.Errorf("the job has the payload %s", job.Payload)
	}
	if all := plainjobstest.Enqueued(t, q, encrypted); len(all) != 2 || all[0] != "good" {
		t.Errorf("Enqueued = %v", all)
	}
	if errs := plainjobstest.Drain(t, q, plainjobstest.Failures()); len(errs) != 1 {
		t.Errorf("Drain = %v", errs)
	}
	job := plainjobstest.RequireEnqueued(t, q, encrypted, "bad")
	if job.State != plainjobs.Failed || strings.Contains(job.Errors[0].Error, "secret") {
		t.Errorf("the job is %+v", job)
	}
}
