package postgrestest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/worker"
)

// largeJob returns its payload.
var largeJob = plainjobs.DeclareResult[string, string]("large")

// testLarge runs a job of 80 MiB whose payload cannot be read, and whose result cannot be
// stored, within statement_timeout. The job must not block others, and must be done. A
// push that times out returns advice.
func (d Driver) testLarge(t *testing.T) {
	s := d.schema(t)
	opts := &postgres.Options{Schema: s.name}
	patient := s.open(t, opts)
	hasty, err := d.Open(s.with("options", "-c statement_timeout=30ms"), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer hasty.Close()
	random := make([]byte, 60<<20) // hard to compress
	_, _ = rand.Read(random)
	payload := base64.StdEncoding.EncodeToString(random)
	large := newJob("large")
	large.Payload = []byte(`"` + payload + `"`)
	if _, err := hasty.Push(t.Context(), []backend.NewJob{large}); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "ALTER ROLE") {
		t.Errorf("Push of 80 MiB = %v, want the advice to allow the role more time", err)
	}
	pushed, err := patient.Push(t.Context(), []backend.NewJob{large})
	if err != nil {
		t.Fatal(err)
	}
	push(t, patient, "a", 20)

	q := plainjobs.New(hasty, &plainjobs.Options{MaxPayload: 100 << 20})
	plainjobs.Handle(q, jobA, func(context.Context, struct{}) error { return nil })
	plainjobs.HandleResult(q, largeJob, func(_ context.Context, data string) (string, error) { return data, nil })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{jobA, largeJob}, Logger: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	deadline := time.Now().Add(2 * time.Minute)
	for count(t, patient, backend.Done) < 21 && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond) // there is no notification
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	info, err := patient.Get(t.Context(), pushed[0].ID)
	if err != nil || info.State != backend.Done || info.Failures != 0 || string(info.Result) != string(large.Payload) {
		t.Errorf("the large job is %v with %d failures and a result of %d bytes, %v", info.State, info.Failures, len(info.Result), err)
	}
	if n := count(t, patient, backend.Done); n != 21 {
		t.Errorf("%d jobs are done, want 21", n)
	}
}
