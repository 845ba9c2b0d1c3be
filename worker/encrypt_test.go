package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/worker"
)

const secret = "4242-SECRET"

var (
	encryptedJob    = plainjobs.Declare[string]("encrypted")
	encryptedResult = plainjobs.DeclareResult[string, string]("encrypted-result")
	encryptedSignal = plainjobs.DefineSignal[string]("encrypted-signal")
)

// keys returns a codec that encrypts with the first key and decrypts with all.
func keys(t *testing.T, opts *encrypt.Options, ids ...string) *encrypt.AEAD {
	t.Helper()
	all := map[string][]byte{}
	for _, id := range ids {
		all[id] = bytes.Repeat([]byte(id[:1]), 32)
	}
	codec, err := encrypt.New(ids[0], all, opts)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

// wantNoSecret fails if what a store exports contains the secret.
func wantNoSecret(t *testing.T, q *plainjobs.Queue) {
	t.Helper()
	var lines bytes.Buffer
	if _, err := q.Export(t.Context(), &lines, plainjobs.Filter{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(lines.String(), secret) || !strings.Contains(lines.String(), "base64") {
		t.Errorf("the export has the secret, or nothing encrypted:\n%s", lines.String())
	}
}

// Nothing that a queue with a codec stores, logs or shows contains the data of its jobs, and
// handlers get all of them.
func TestEncrypted(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		var logged lockedBuffer
		var reported atomic.Int64
		logger := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		q := plainjobs.New(b, &plainjobs.Options{
			Codec: keys(t, nil, "k"), EncryptErrors: true,
			OnError: func(_ context.Context, job *plainjobs.Info, err error) {
				if !strings.Contains(string(job.Payload)+err.Error(), secret) {
					t.Errorf("OnError got %s, %v", job.Payload, err)
				}
				reported.Add(1)
			},
		})
		defer q.Subscribe(func(e plainjobs.Event) {
			if strings.Contains(string(e.Job.Payload)+string(e.Job.Result), secret) {
				t.Errorf("event %v has the secret", e.Kind)
			}
		})()
		plainjobs.Handle(q, encryptedJob, func(ctx context.Context, data string) error {
			if info, _ := plainjobs.FromContext(ctx); string(info.Payload) != `"`+data+`"` {
				t.Errorf("FromContext has the payload %s of %s", info.Payload, data)
			}
			step, err := plainjobs.Step(ctx, "step", func(context.Context) (string, error) { return data, nil })
			if err != nil {
				return err
			}
			sent, err := encryptedSignal.Wait(ctx, "key", time.Hour)
			if err != nil {
				return err
			}
			if step != secret || sent != secret {
				t.Errorf("the step is %q and the signal %q", step, sent)
			}
			return fmt.Errorf("card %s was refused", data)
		})
		plainjobs.HandleResult(q, encryptedResult, func(_ context.Context, data string) (string, error) { return data + "!", nil })
		fails := perform(t, q, encryptedJob.With(secret, plainjobs.MaxAttempts(1)))[0]
		done := perform(t, q, encryptedResult.With(secret))[0]
		if err := encryptedSignal.Send(t.Context(), q, "key", secret); err != nil {
			t.Fatal(err)
		}
		jobs := []plainjobs.AnyJob{encryptedJob, encryptedResult}
		if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: logger}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := encryptedResult.Await(t.Context(), q, done); err != nil || got != secret+"!" {
			t.Errorf("Await = %q, %v", got, err)
		}
		job, err := q.Get(t.Context(), fails)
		if err != nil || job.State != plainjobs.Failed || reported.Load() != 1 {
			t.Fatalf("the job is %+v, %v; %d errors were reported", job, err, reported.Load())
		}
		if text := fmt.Sprintf("%s %+v %s", job.Payload, job.Errors, logged.String()); strings.Contains(text, secret) {
			t.Errorf("Get or the log shows the secret: %s", text)
		}
		decrypted, err := q.Decrypt(job)
		if err != nil || string(decrypted.Payload) != `"`+secret+`"` || decrypted.Errors[0].Error != "card "+secret+" was refused" {
			t.Errorf("Decrypt = %s, %+v, %v", decrypted.Payload, decrypted.Errors, err)
		}
		wantNoSecret(t, q)
	})
}

// A job whose key is missing waits, says so and uses no attempt; other jobs run. With the key it
// runs.
func TestMissingKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		var logged lockedBuffer
		old := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "old")})
		q := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "new"), EncryptErrors: true})
		var ran atomic.Int64
		handler := func(context.Context, string) error { ran.Add(1); return nil }
		plainjobs.Handle(old, encryptedJob, handler)
		plainjobs.Handle(q, encryptedJob, handler)
		waits := perform(t, old, encryptedJob.With(secret, plainjobs.MaxAttempts(1)))[0]
		perform(t, q, encryptedJob.With("runs"))
		jobs := []plainjobs.AnyJob{encryptedJob}
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		time.Sleep(10*time.Minute + 30*time.Second) // of simulated time
		why, err := q.Why(t.Context(), waits)
		if want := `it is encrypted with key "old", and this program has ["new"]`; err != nil || !strings.Contains(why, want) || !strings.Contains(why, "without using an attempt") {
			t.Errorf("Why = %q, %v", why, err)
		}
		if text := logged.String(); !strings.Contains(text, "cannot be decrypted and waits") || !strings.Contains(text, "old") || strings.Contains(text, secret) {
			t.Errorf("the log is %s", text)
		}
		if i := info(t, b, waits); i.State != backend.Scheduled || i.Failures != 0 || ran.Load() != 1 {
			t.Errorf("the job is %+v, and %d handlers ran", i, ran.Load())
		}
		mustStop(t, stop)
		stop = start(t, old, worker.Options{Jobs: jobs})
		time.Sleep(2 * time.Minute)
		if i := info(t, b, waits); i.State != backend.Done || i.Failures != 0 {
			t.Errorf("with the key the job is %+v", i)
		}
		mustStop(t, stop)
	})
}

// What does not decrypt for another reason fails its run, which is retried, and the error shows no
// data.
func TestWrongKey(t *testing.T) {
	b := memory.New(nil)
	right := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "k")})
	codec, err := encrypt.New("k", map[string][]byte{"k": bytes.Repeat([]byte("x"), 32)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := plainjobs.New(b, &plainjobs.Options{Codec: codec})
	plainjobs.Handle(q, encryptedJob, func(context.Context, string) error { t.Error("the handler ran"); return nil })
	id := perform(t, right, encryptedJob.With(secret))[0]
	if err := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{encryptedJob}, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i := info(t, b, id); i.State != backend.Scheduled || i.Failures != 1 || !strings.Contains(i.Errors[0].Error, "has other bytes here") {
		t.Errorf("the job is %+v", i)
	}
}

// A queue that begins to use a codec runs the jobs of before, and rekey encrypts them.
func TestRekey(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		clear := plainjobs.New(b, nil)
		old := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "old")})
		var got atomic.Int64
		handler := func(ctx context.Context, data string) error {
			if _, err := plainjobs.Step(ctx, "step", func(context.Context) (string, error) { return secret, nil }); err != nil {
				return err
			}
			if data == secret {
				got.Add(1)
			}
			if info, _ := plainjobs.FromContext(ctx); info.Failures == 0 {
				return plainjobs.RetryAfter(0, errors.New("again"))
			}
			return plainjobs.Record(ctx, secret)
		}
		later := plainjobs.In(time.Hour)
		waits := []int64{perform(t, clear, encryptedJob.With(secret, later))[0], perform(t, old, encryptedJob.With(secret, later))[0]}
		perform(t, old, encryptedJob.With(secret))
		plainjobs.Handle(old, encryptedJob, handler)
		jobs := []plainjobs.AnyJob{encryptedJob}
		drain := func(q *plainjobs.Queue) {
			t.Helper()
			if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		drain(old) // one job is done, with a result and a step

		both := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, &encrypt.Options{Plain: true}, "new", "old")})
		if n, err := both.Rekey(t.Context()); n != 3 || err != nil {
			t.Errorf("Rekey = %d, %v", n, err)
		}
		if n, err := both.Rekey(t.Context()); n != 0 || err != nil {
			t.Errorf("Rekey again = %d, %v", n, err)
		}
		if n, err := old.Rekey(t.Context()); n != 0 || !errors.Is(err, encrypt.ErrUnavailable) || !strings.Contains(err.Error(), "3 jobs do not decrypt") {
			t.Errorf("Rekey without the key = %d, %v", n, err)
		}
		if n, err := clear.Rekey(t.Context()); n != 0 || err == nil {
			t.Errorf("Rekey without a codec = %d, %v", n, err)
		}
		wantNoSecret(t, both)
		q := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "new")})
		plainjobs.Handle(q, encryptedJob, handler)
		if n, err := q.Retry(t.Context(), plainjobs.Filter{IDs: waits}); n != 2 || err != nil {
			t.Fatalf("Retry = %d, %v", n, err)
		}
		drain(q)
		if got.Load() != 6 {
			t.Errorf("handlers got the secret %d times", got.Load())
		}
		for _, id := range waits {
			job, err := q.Get(t.Context(), id)
			if err == nil {
				job, err = q.Decrypt(job)
			}
			if err != nil || job.State != plainjobs.Done || string(job.Result) != `"`+secret+`"` {
				t.Errorf("the job is %+v, %v", job, err)
			}
		}
	})
}

// failing fails for one payload.
type failing struct{ panics bool }

func (f failing) Encrypt(_ string, data []byte) ([]byte, error) {
	if strings.Contains(string(data), "bad") {
		if f.panics {
			panic("secret of the codec")
		}
		return nil, errors.New("no connection to the key server")
	}
	return data, nil
}

func (f failing) Decrypt(_ string, data []byte) ([]byte, error) { return data, nil }

// A codec that fails for one job of a batch is an error before anything is stored.
func TestCodecFails(t *testing.T) {
	for _, panics := range []bool{false, true} {
		b := memory.New(nil)
		q := plainjobs.New(b, &plainjobs.Options{Codec: failing{panics}})
		_, err := q.PerformMany(t.Context(), encryptedJob.With("good"), encryptedJob.With("bad"), encryptedJob.With("good"))
		if want := "perform encrypted, task 1"; err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("PerformMany = %v, want an error with %q", err, want)
		}
		if n := count(t, b, backend.States()...); n != 0 {
			t.Errorf("%d jobs are stored", n)
		}
	}
}

// Schedules push encrypted payloads: those that a program defines and those that are stored.
func TestEncryptedSchedules(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "k")})
	plainjobs.Handle(q, encryptedJob, func(_ context.Context, data string) error {
		if data != secret {
			t.Errorf("the handler got %q", data)
		}
		return nil
	})
	if err := q.Schedule("encrypted-own", "@yearly", encryptedJob.With(secret), plainjobs.RunAtStart()); err != nil {
		t.Fatal(err)
	}
	if err := q.SetSchedule(t.Context(), "encrypted-stored", "@yearly", encryptedJob.With(secret)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"encrypted-own", "encrypted-stored"} {
		if _, err := q.RunSchedule(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{encryptedJob}, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, b, backend.Done); n < 2 {
		t.Errorf("%d jobs are done", n)
	}
	wantNoSecret(t, q)
}
