package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// The log says why a handler that awaits another job hangs, and again after ten times as
// long.
func TestAwaitInHandlerIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		plainjobs.HandleResult(q, textJob, func(context.Context, string) (string, error) { return "", nil })
		jobs := append(bind(q, jobA, func(ctx context.Context, s string) error {
			if s == "busy" {
				<-ctx.Done()
				return ctx.Err()
			}
			id, err := q.Perform(ctx, textJob.With(""))
			if err == nil {
				_, err = textJob.Await(ctx, q, id)
			}
			return err
		}), textJob)
		var log, full lockedBuffer
		options := func(log *lockedBuffer) worker.Options {
			return worker.Options{Jobs: jobs, Concurrency: 2, Grace: -1, Logger: slog.New(slog.NewJSONHandler(log, nil))}
		}
		const one, all = "awaits a job that has not started", "handlers in all slots of this worker await"

		ids := perform(t, q, jobA.With("busy"), jobA.With(""))
		stop := start(t, q, options(&log))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if text := log.String(); strings.Count(text, one) != 1 || strings.Contains(text, all) {
			t.Errorf("the log is %s", text)
		}
		if _, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: ids[:1]}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if info, err := q.Get(t.Context(), ids[1]); err != nil || info.State != plainjobs.Done {
			t.Errorf("the job that awaited one is %+v, %v", info, err)
		}
		mustStop(t, stop)

		ids = perform(t, q, jobA.With(""), jobA.With(""))
		stop = start(t, q, options(&full))
		time.Sleep(time.Minute)
		synctest.Wait()
		text := full.String()
		if strings.Count(text, all) != 4 || !strings.Contains(text, `"id":`+strconv.FormatInt(ids[0], 10)) || !strings.Contains(text, `"awaited_job":"complete/text"`) {
			t.Errorf("the log is %s", text)
		}
		mustStop(t, stop)
	})
}

// Await returns an error for a job that cannot end before the handler returns.
func TestAwaitOfWhatWaitsForTheHandler(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		errs := make(chan error, 2)
		plainjobs.HandleResult(q, textJob, func(ctx context.Context, s string) (string, error) {
			if s != "first" {
				return "", nil
			}
			i, _ := plainjobs.FromContext(ctx)
			_, err := textJob.Await(ctx, q, i.ID)
			errs <- err
			id, err := q.Perform(ctx, textJob.With("second", plainjobs.Serial("k")))
			if err == nil {
				_, err = textJob.Await(ctx, q, id)
			}
			errs <- err
			return "", nil
		})
		perform(t, q, textJob.With("first", plainjobs.Serial("k")))
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{textJob}, Concurrency: 2})
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "its own job") {
			t.Errorf("Await of the handler's own job = %v", err)
		}
		if err := <-errs; err == nil || !strings.Contains(err.Error(), `same serial key "k"`) {
			t.Errorf("Await of a job that the handler's blocks = %v", err)
		}
		mustStop(t, stop)
	})
}

// The log names a subscriber that does not return, and the job that waits for it.
func TestSubscriberThatBlocksIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		logger := slog.New(slog.NewJSONHandler(&log, nil))
		q := plainjobs.New(memory.New(nil), &plainjobs.Options{Logger: logger})
		jobs := bind(q, jobA, func(context.Context, string) error { return errors.New("no") })
		gate := make(chan struct{})
		defer q.Subscribe(func(e plainjobs.Event) {
			if e.Kind != plainjobs.EventStarted {
				<-gate
			}
		})()
		go func() { perform(t, q, jobA.With("")) }()
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Logger: logger})
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, want := range []string{`"event":"pushed"`, `"event":"retried"`} {
			if text := log.String(); strings.Count(text, want) != 1 || !strings.Contains(text, "await_test.go:") || !strings.Contains(text, "has not returned") {
				t.Errorf("the log has no %s: %s", want, text)
			}
		}
		close(gate)
		mustStop(t, stop)
	})
}
