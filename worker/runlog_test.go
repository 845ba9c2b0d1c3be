package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// What a handler logs is stored with its run, from the level of StoreLogs, and still goes to the
// queue's logger.
func TestStoreLogs(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		var logged lockedBuffer
		q := plainjobs.New(b, &plainjobs.Options{
			StoreLogs: slog.LevelInfo, Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		jobs := bind(q, jobA, func(ctx context.Context, data string) error {
			log := plainjobs.Logger(ctx).With("data", data)
			log.Debug("too fine")
			log.Info("begins")
			plainjobs.Logger(ctx).WithGroup("g").Warn("careful", "n", 1)
			if info, _ := plainjobs.FromContext(ctx); info.Attempt == 1 {
				return plainjobs.RetryAfter(0, errors.New("again"))
			}
			return nil
		})
		id := perform(t, q, jobA.With("x"))[0]
		quiet := perform(t, q, jobA.With("y"))[0]
		if _, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{quiet}}); err != nil {
			t.Fatal(err)
		}
		if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		job, err := q.Get(t.Context(), id)
		if err != nil || job.State != plainjobs.Done || len(job.Logs) != 2 {
			t.Fatalf("the job is %+v, %v", job, err)
		}
		for i, l := range job.Logs {
			if l.Attempt != i+1 || l.At.IsZero() || strings.Contains(l.Text, "too fine") || !strings.Contains(l.Text, "level=INFO msg=begins data=x\n") || !strings.Contains(l.Text, "msg=careful g.n=1\n") {
				t.Errorf("log %d is %+v", i, l)
			}
		}
		if text := logged.String(); strings.Contains(text, "begins") || strings.Count(text, "careful") != 2 || !strings.Contains(text, fmt.Sprint("id=", id)) {
			t.Errorf("the queue's logger has %s", text)
		}
		if job, err = q.Get(t.Context(), quiet); err != nil || job.Logs != nil {
			t.Errorf("a job that did not run has the logs %+v, %v", job.Logs, err)
		}
	})
}

// Without the option nothing is stored.
func TestStoreNoLogs(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	jobs := bind(q, jobA, func(ctx context.Context, _ string) error { plainjobs.Logger(ctx).Info("hello"); return nil })
	id := perform(t, q, jobA.With("x"))[0]
	if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i := info(t, b, id); i.Logs != nil {
		t.Errorf("the job has the logs %+v", i.Logs)
	}
}

// A run that goes on has what it logged up to the last heartbeat, and so has one that is killed.
// Of a long log the end is kept.
func TestStoreLogsOfRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, &plainjobs.Options{StoreLogs: slog.LevelDebug})
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			for n := 0; ctx.Err() == nil; n++ {
				plainjobs.Logger(ctx).Debug("line", "n", n)
				select {
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
				}
			}
			return context.Cause(ctx)
		})
		id := perform(t, q, jobA.With("x"))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Lease: 8 * time.Second, Grace: -1})
		time.Sleep(2100 * time.Millisecond)
		first := info(t, b, id).Logs
		if len(first) != 1 || !strings.Contains(first[0].Text, " n=0\n") || !strings.Contains(first[0].Text, " n=390\n") {
			t.Errorf("after 2.1 s the logs are %.200v", first)
		}
		time.Sleep(4 * time.Second)
		second := info(t, b, id).Logs
		if len(second) != 1 || len(second[0].Text) > backend.MaxLog || strings.Contains(second[0].Text, " n=0\n") || !strings.Contains(second[0].Text, " n=1190\n") || !strings.HasPrefix(second[0].Text, "time=") {
			t.Errorf("after 6.1 s the logs are %.200v", second)
		}
		mustStop(t, stop)
	})
}

// A batch logs with its first job.
func TestStoreLogsOfBatch(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, &plainjobs.Options{StoreLogs: slog.LevelInfo, Logger: slog.New(slog.DiscardHandler)})
	handleBatch(func(ctx context.Context, _ []string) error { plainjobs.Logger(ctx).Info("together"); return nil })
	ids := perform(t, q, batchTasks(2)...)
	drainBatches(t, q)
	if first, second := info(t, b, ids[0]).Logs, info(t, b, ids[1]).Logs; len(first) != 1 || len(second) != 0 || !strings.Contains(first[0].Text, "together") {
		t.Errorf("the logs are %+v and %+v", first, second)
	}
}

// Logs are encrypted as errors are.
func TestEncryptedLogs(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "k"), EncryptErrors: true, StoreLogs: slog.LevelInfo, Logger: slog.New(slog.DiscardHandler)})
		jobs := bind(q, jobA, func(ctx context.Context, data string) error {
			for range 2000 {
				plainjobs.Logger(ctx).Info("card", "number", data)
			}
			plainjobs.Logger(ctx).Info("end")
			return nil
		})
		id := perform(t, q, jobA.With(secret))[0]
		if err := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		job, err := q.Get(t.Context(), id)
		if err != nil || len(job.Logs) != 1 || strings.Contains(job.Logs[0].Text, secret) {
			t.Fatalf("the job is %.300v, %v", job, err)
		}
		opened, err := q.Decrypt(job)
		if err != nil || !strings.Contains(opened.Logs[0].Text, "number="+secret) || !strings.HasSuffix(opened.Logs[0].Text, "msg=end\n") {
			t.Errorf("the log is %.300q, %v", opened.Logs[0].Text, err)
		}
	})
}
