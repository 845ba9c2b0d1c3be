package plainjobs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/plainjobstest"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	recorded  = plainjobs.Declare[string]("recorded", plainjobs.MaxAttempts(1))
	recordSum = plainjobs.DeclareResult[string, int]("recorded/sum", plainjobs.MaxAttempts(1))
)

// What a handler records is kept however its run ends.
func TestRecord(t *testing.T) {
	for name, open := range map[string]func() backend.Backend{
		"memory": func() backend.Backend { return memory.New(nil) },
		"modernc": func() backend.Backend {
			b, err := modernc.Open(filepath.Join(t.TempDir(), "jobs.db"), nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			var onError string
			q := plainjobs.New(open(), &plainjobs.Options{OnError: func(_ context.Context, job *plainjobs.Info, _ error) { onError = string(job.Result) }})
			defer q.Close()
			ends := map[string]error{"done": nil, "failed": errors.New("no"), "cancelled": plainjobs.Cancel(errors.New("no"))}
			plainjobs.Handle(q, recorded, func(ctx context.Context, end string) error {
				if err := errors.Join(plainjobs.Record(ctx, "earlier"), plainjobs.Record(ctx, end)); err != nil {
					return err
				}
				return ends[end]
			})
			plainjobs.HandleResult(q, recordSum, func(ctx context.Context, end string) (int, error) {
				return 7, errors.Join(plainjobs.Record(ctx, 5), ends[end])
			})
			ids := map[int64]string{}
			for end := range ends {
				id, err := q.Perform(t.Context(), recorded.With(end))
				if err != nil {
					t.Fatal(err)
				}
				ids[id] = fmt.Sprintf("%s %q", end, end)
			}
			for end, want := range map[string]string{"done": "done 7", "failed": "failed 5"} {
				id, err := q.Perform(t.Context(), recordSum.With(end))
				if err != nil {
					t.Fatal(err)
				}
				ids[id] = want
			}
			if err := worker.New(q, &worker.Options{Drain: true, Concurrency: 1, Jobs: []plainjobs.AnyJob{recorded, recordSum}}).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			for id, want := range ids {
				info, err := q.Get(t.Context(), id)
				if got := fmt.Sprintf("%v %s", info.State, info.Result); err != nil || got != want {
					t.Errorf("job %d is %s, %v, want %s", id, got, err, want)
				}
			}
			if onError == "" {
				t.Error("OnError gets no result")
			}
		})
	}
}

// Complete stores what was recorded.
func TestRecordAndComplete(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := plainjobs.New(store, nil)
	defer q.Close()
	plainjobs.Handle(q, recorded, func(ctx context.Context, _ string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		return errors.Join(plainjobs.Record(ctx, 1), plainjobs.Complete(ctx, tx), tx.Commit())
	})
	id, err := q.Perform(t.Context(), recorded.With(""))
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.New(q, &worker.Options{Drain: true, Jobs: []plainjobs.AnyJob{recorded}}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := q.Get(t.Context(), id); err != nil || info.State != plainjobs.Done || string(info.Result) != "1" {
		t.Errorf("the job is %v with the result %s, %v", info.State, info.Result, err)
	}
}

// A queue for tests keeps what a run records that fails.
func TestRecordInline(t *testing.T) {
	ctx, q := plainjobstest.Memory(t)
	plainjobs.Handle(q, recorded, func(ctx context.Context, _ string) error {
		return errors.Join(plainjobs.Record(ctx, 1), errors.New("no"))
	})
	id, err := plainjobs.Perform(ctx, recorded.With(""))
	if err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, q, plainjobstest.Failures())
	if info, err := q.Get(ctx, id); err != nil || info.State != plainjobs.Failed || string(info.Result) != "1" {
		t.Errorf("the job is %v with the result %s, %v", info.State, info.Result, err)
	}
}

// Record refuses what it cannot store.
func TestRecordRefuses(t *testing.T) {
	if err := plainjobs.Record(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "outside of a handler") {
		t.Errorf("Record outside of a handler returned %v", err)
	}
	ctx, q := plainjobstest.Inline(t, plainjobstest.Queue(plainjobs.Options{MaxPayload: 10}))
	plainjobs.Handle(q, recorded, func(ctx context.Context, _ string) error {
		if err := plainjobs.Record(ctx, func() {}); err == nil || !strings.Contains(err.Error(), "does not encode") {
			t.Errorf("Record of a function returned %v", err)
		}
		if err := plainjobs.Record(ctx, "more than ten"); !errors.Is(err, plainjobs.ErrPayloadTooLarge) {
			t.Errorf("Record of a large value returned %v", err)
		}
		return nil
	})
	if _, err := plainjobs.Perform(ctx, recorded.With("")); err != nil {
		t.Error(err)
	}
}

var importFile = plainjobs.Declare[string]("example/import-file", plainjobs.MaxAttempts(1))

// A run that fails keeps what it has found out.
func ExampleRecord() {
	ctx := context.Background()
	queue := plainjobs.New(memory.New(nil), nil)
	defer queue.Close()
	plainjobs.Handle(queue, importFile, func(ctx context.Context, file string) error {
		if err := plainjobs.Record(ctx, map[string]any{"rows": 41}); err != nil {
			return err
		}
		return errors.New("row 42 has no address")
	})

	id, err := queue.Perform(ctx, importFile.With("people.csv"))
	if err == nil {
		err = worker.New(queue, &worker.Options{Drain: true, Jobs: []plainjobs.AnyJob{importFile}}).Run(ctx)
	}
	info, _ := queue.Get(ctx, id)
	fmt.Println(err, info.State, string(info.Result))
	// Output: <nil> failed {"rows":41}
}
