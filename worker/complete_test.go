package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

var textJob = plainjobs.DeclareResult[string, string]("complete/text", plainjobs.MaxAttempts(1))

// openApp returns the database of an application, and the store in it.
func openApp(t *testing.T) (*sql.DB, *sqlite.Backend) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return db, b
}

// completing runs complete in a transaction and commits it.
func completing(ctx context.Context, db *sql.DB, complete func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := complete(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// The context of a handler whose transaction was not committed ends when another worker
// has its job.
func TestLostAfterRollback(t *testing.T) {
	db, b := openApp(t)
	q := plainjobs.New(b, nil)
	rolledBack, learnt, causes := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
		if i, _ := plainjobs.FromContext(ctx); i.Suspect { // the second run
			<-learnt
			return nil
		}
		errUndo := errors.New("undo")
		err := completing(ctx, db, func(tx *sql.Tx) error { return errors.Join(plainjobs.Complete(ctx, tx), errUndo) })
		if !errors.Is(err, errUndo) {
			return err
		}
		close(rolledBack)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	})
	id := perform(t, q, jobA.With(""))[0]
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 2, Lease: time.Second})
	<-rolledBack
	workers, err := b.Workers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	if _, err := b.Reap(t.Context(), backend.ReapRequest{Dead: []int64{workers[0].ID}}); err != nil {
		t.Fatal(err)
	}
	select {
	case cause := <-causes:
		if !errors.Is(cause, plainjobs.ErrLeaseLost) {
			t.Errorf("the handler's context ended with %v", cause)
		}
	case <-time.After(30 * time.Second):
		t.Error("the handler does not learn that its lease is lost")
	}
	close(learnt)
	eventually(t, "it runs again", func() bool { return state(t, b, id) == backend.Done })
	mustStop(t, stop)
}

// A handler that has completed its job may continue: its missing lease is no loss.
func TestGoesOnAfterItsJobIsDone(t *testing.T) {
	db, b := openApp(t)
	q := plainjobs.New(b, nil)
	committed, gate, causes := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
		if err := completing(ctx, db, func(tx *sql.Tx) error { return plainjobs.Complete(ctx, tx) }); err != nil {
			return err
		}
		close(committed)
		select {
		case <-ctx.Done():
		case <-gate:
		}
		causes <- context.Cause(ctx)
		return nil
	})
	events := make(chan plainjobs.EventKind, 10)
	defer q.Subscribe(func(e plainjobs.Event) { events <- e.Kind })()
	id := perform(t, q, jobA.With(""))[0]
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Lease: 400 * time.Millisecond})
	<-committed
	var beats []time.Time
	eventually(t, "the worker has beaten five times", func() bool {
		workers, err := q.Workers(t.Context())
		if err == nil && len(workers) == 1 && !slices.Contains(beats, workers[0].SeenAt) {
			beats = append(beats, workers[0].SeenAt)
		}
		return len(beats) > 5
	})
	close(gate)
	if cause := <-causes; cause != nil {
		t.Errorf("the handler's context ended with %v", cause)
	}
	mustStop(t, stop)
	if s := state(t, b, id); s != backend.Done {
		t.Errorf("the job is %v", s)
	}
	close(events)
	var got []plainjobs.EventKind
	for kind := range events {
		got = append(got, kind)
	}
	if want := []plainjobs.EventKind{plainjobs.EventPushed, plainjobs.EventStarted, plainjobs.EventDone}; !slices.Equal(got, want) {
		t.Errorf("events are %v, want %v", got, want)
	}
}

// A result is committed with the job's end, and there is no end without one.
func TestCompleteWithResult(t *testing.T) {
	db, b := openApp(t)
	q := plainjobs.New(b, nil)
	plainjobs.HandleResult(q, textJob, func(ctx context.Context, s string) (string, error) {
		err := completing(ctx, db, func(tx *sql.Tx) error {
			if s == "without" {
				return plainjobs.Complete(ctx, tx)
			}
			return textJob.Complete(ctx, tx, "the result")
		})
		return "not this one", err
	})
	ids := perform(t, q, textJob.With("with"), textJob.With("without"))
	stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{textJob}, Concurrency: 1})
	if r, err := textJob.Await(t.Context(), q, ids[0]); r != "the result" || err != nil {
		t.Errorf("Await = %q, %v", r, err)
	}
	var failed *plainjobs.JobError
	if _, err := textJob.Await(t.Context(), q, ids[1]); !errors.As(err, &failed) || !strings.Contains(failed.Last, "has a result") {
		t.Errorf("Await of a job that was completed without its result = %v", err)
	}
	mustStop(t, stop)
	if err := textJob.Complete(t.Context(), nil, ""); err == nil {
		t.Error("Complete outside of a handler is no error")
	}
}

// A job without retention is deleted when its own transaction completes it, which is no
// error.
func TestCompleteWhatIsNotKept(t *testing.T) {
	db, b := openApp(t)
	q := plainjobs.New(b, nil)
	jobs := bind(q, keptJob, func(ctx context.Context, _ string) error {
		return completing(ctx, db, func(tx *sql.Tx) error { return plainjobs.Complete(ctx, tx) })
	})
	var log lockedBuffer
	id := perform(t, q, keptJob.With(""))[0]
	stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	eventually(t, "it is gone", func() bool {
		_, err := q.Get(t.Context(), id)
		return errors.Is(err, plainjobs.ErrNotFound)
	})
	mustStop(t, stop)
	if text := log.String(); text != "" {
		t.Errorf("the log is %s", text)
	}
}
