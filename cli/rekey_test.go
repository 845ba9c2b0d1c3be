package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// The commands show encrypted data as they are unless they are told to decrypt them, encrypt what they push,
// and say which jobs wait for a key.
func TestEncryptedCommands(t *testing.T) {
	w := newWorld(t)
	current := "old"
	w.app.Open = func(context.Context) (*plainjobs.Queue, error) {
		codec, err := encrypt.New(current, map[string][]byte{current: bytes.Repeat([]byte(current[:1]), 32)}, &encrypt.Options{Plain: current == "old"})
		return plainjobs.New(w.store, &plainjobs.Options{Codec: codec}), err
	}
	has := func(text string, want bool, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if strings.Contains(text, part) != want {
				t.Errorf("%q in the output is not %v:\n%s", part, want, text)
			}
		}
	}
	w.must(t, 0, "perform", "invoice", `{"to":"ada@example.com"}`)
	has(w.must(t, 0, "show", "1").out, false, "ada@example.com")
	has(w.must(t, 0, "show", "1").out, true, "encrypted:1:old:")
	has(w.must(t, 0, "show", "1", "--json").out, false, "ada@example.com")
	has(w.must(t, 0, "show", "1", "--decrypt").out, true, "ada@example.com")
	has(w.must(t, 0, "export").out, false, "ada@example.com")
	has(w.run("check", "--payloads").out, true, "examined 1 job")

	if _, err := w.store.Push(t.Context(), []backend.NewJob{{Name: "invoice", Payload: []byte(`{"to":"b@example.com"}`), MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	has(w.must(t, 0, "rekey").err, true, "encrypted again: 1 job")
	has(w.must(t, 0, "rekey", "--json").out, true, `{"changed":0}`)
	has(w.must(t, 0, "show", "2").out, false, "b@example.com")

	current = "new"
	has(w.must(t, 1, "show", "1", "--decrypt").err, true, `it is encrypted with key "old"`)
	has(w.must(t, 1, "rekey").err, true, "2 jobs do not decrypt", `it is encrypted with key "old"`)
	has(w.run("check", "--payloads").out, true, `encrypted with key "old"`)
	has(w.run("doctor").out, false, "keys")
	jobs, err := w.store.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: leaseOfFill}, Register: true, Names: []string{"invoice"}, Limit: 1})
	if err != nil || len(jobs) != 1 {
		t.Fatalf("Claim = %v, %v", jobs, err)
	}
	q, err := w.app.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	current = "old"
	withOld, err := w.app.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	current = "new"
	step, err := (*engine.Handle)(withOld).Queue().Encrypt(engine.KindStep, "invoice", []byte(`"receipt of ada"`))
	if err == nil {
		err = w.store.StoreStep(t.Context(), nil, jobs[0].Lease, backend.Step{Name: "mail", Result: step})
	}
	if err != nil {
		t.Fatal(err)
	}
	f := failureOf(t, q, &jobs[0])
	if _, err := w.store.Fail(t.Context(), []backend.Failure{f}); err != nil {
		t.Fatal(err)
	}
	has(w.run("doctor").out, true, "keys", "jobs wait that cannot be decrypted: 1, for example #1", "rekey")
	has(w.must(t, 0, "why", "1").out, true, "without using an attempt", `it is encrypted with key "old"`)
	current = "old"
	has(w.must(t, 0, "show", "1").out, false, "receipt of ada")
	has(w.must(t, 0, "show", "1", "--decrypt").out, true, "receipt of ada")
}

// failureOf returns how the run of a job ends in a worker of q.
func failureOf(t *testing.T, q *plainjobs.Queue, job *backend.Job) backend.Failure {
	t.Helper()
	d := engine.Lookup(job.Name)
	queue := (*engine.Handle)(q).Queue()
	_, err := queue.Run(t.Context(), d, queue.Handler(d), job)
	if err == nil {
		t.Fatal("the job ran")
	}
	return engine.FailureOf(d, job, err, false)
}
