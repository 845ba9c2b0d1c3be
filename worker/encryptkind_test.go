package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/worker"
)

// everyKind are the kinds of data that a job can have.
var everyKind = []engine.Kind{engine.KindPayload, engine.KindResult, engine.KindStep, engine.KindError, engine.KindLog}

// storedKinds returns what is stored of a job, by kind.
func storedKinds(t *testing.T, b backend.Backend, q *plainjobs.Queue, id int64) map[engine.Kind]string {
	t.Helper()
	i := info(t, b, id)
	steps, err := q.Steps(t.Context(), id)
	if err != nil || len(steps) != 1 || len(i.Errors) != 1 || len(i.Logs) != 1 {
		t.Fatalf("the job is %+v with the steps %v, %v", i, steps, err)
	}
	return map[engine.Kind]string{
		engine.KindPayload: string(i.Payload), engine.KindResult: string(i.Result), engine.KindStep: string(steps[0].Result),
		engine.KindError: i.Errors[0].Error, engine.KindLog: i.Logs[0].Text,
	}
}

// wantKinds fails if data do not decrypt as their kind, or decrypt as another or as the value of a
// signal. Data of the waiting kinds are encrypted with a key that q has not.
func wantKinds(t *testing.T, q *plainjobs.Queue, stored map[engine.Kind]string, waiting ...engine.Kind) {
	t.Helper()
	waits := map[engine.Kind]bool{}
	for _, kind := range waiting {
		waits[kind] = true
	}
	for kind, text := range stored {
		for _, as := range append([]engine.Kind{engine.KindSignal}, everyKind...) {
			data, err := (*engine.Handle)(q).Queue().Decrypt(as, "encrypted", []byte(text))
			switch {
			case waits[kind]:
				if !errors.Is(err, encrypt.ErrUnavailable) {
					t.Errorf("kind %d decrypts as %d: %q, %v; want that its key is missing", kind, as, data, err)
				}
			case kind == as:
				if err != nil || !strings.Contains(string(data), secret) {
					t.Errorf("kind %d decrypts as %q, %v", kind, data, err)
				}
			case err == nil || !strings.Contains(err.Error(), "another name or kind of data"):
				t.Errorf("kind %d decrypts as %d: %q, %v", kind, as, data, err)
			}
		}
	}
}

// Encrypted data of one kind do not decrypt as another, before and after Rekey, which encrypts
// payloads, results and steps. A job with a result, a step, an error or a log for its payload does
// not run.
func TestEncryptedKinds(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		open := func(ids ...string) *plainjobs.Queue {
			return plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, ids...), EncryptErrors: true, StoreLogs: slog.LevelInfo, Logger: slog.New(slog.DiscardHandler)})
		}
		var ran atomic.Int64
		jobs := []plainjobs.AnyJob{encryptedJob}
		drain := func(q *plainjobs.Queue) {
			t.Helper()
			plainjobs.Handle(q, encryptedJob, func(ctx context.Context, data string) error {
				ran.Add(1)
				if _, err := plainjobs.Step(ctx, "step", func(context.Context) (string, error) { return data, nil }); err != nil {
					return err
				}
				plainjobs.Logger(ctx).Info("card", "number", data)
				return errors.Join(plainjobs.Record(ctx, data), errors.New("card "+data+" was refused"))
			})
			if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		old := open("old")
		id := perform(t, old, encryptedJob.With(secret, plainjobs.MaxAttempts(1)))[0]
		drain(old)
		stored := storedKinds(t, b, old, id)
		wantKinds(t, old, stored)

		if n, err := open("new", "old").Rekey(t.Context()); n != 1 || err != nil {
			t.Errorf("Rekey = %d, %v", n, err)
		}
		q := open("new")
		stored = storedKinds(t, b, q, id)
		wantKinds(t, q, stored, engine.KindError, engine.KindLog)

		both := open("new", "old")
		wantKinds(t, both, stored)
		var moved []backend.NewJob
		for _, kind := range everyKind[1:] {
			moved = append(moved, backend.NewJob{Name: encryptedJob.Name(), Payload: []byte(stored[kind]), MaxAttempts: 1})
		}
		pushed, err := b.Push(t.Context(), moved)
		if err != nil {
			t.Fatal(err)
		}
		drain(both)
		for n, p := range pushed {
			if i := info(t, b, p.ID); i.State != backend.Failed || len(i.Errors) != 1 {
				t.Errorf("the job with kind %d for its payload is %+v", everyKind[n+1], i)
			}
		}
		if ran.Load() != 1 {
			t.Errorf("%d handlers ran, want 1", ran.Load())
		}
	})
}

// The error of a job that is awaited is decrypted.
func TestAwaitedErrorEncrypted(t *testing.T) {
	q := plainjobs.New(memory.New(nil), &plainjobs.Options{Codec: keys(t, nil, "k"), EncryptErrors: true, Logger: slog.New(slog.DiscardHandler)})
	plainjobs.HandleResult(q, encryptedResult, func(_ context.Context, data string) (string, error) {
		return "", errors.New("card " + data + " was refused")
	})
	id := perform(t, q, encryptedResult.With(secret, plainjobs.MaxAttempts(1)))[0]
	jobs := []plainjobs.AnyJob{encryptedResult}
	if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := encryptedResult.Await(t.Context(), q, id)
	var failed *plainjobs.JobError
	if !errors.As(err, &failed) || failed.Last != "card "+secret+" was refused" {
		t.Errorf("Await = %v", err)
	}
}
