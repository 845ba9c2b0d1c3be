package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

// The effects of a step in a transaction happen once, whatever becomes of the runs.
func TestStepInTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE booking (step TEXT)"); err != nil {
		t.Fatal(err)
	}
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	q := plainjobs.New(b, nil)
	var charges, tries atomic.Int32
	jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
		if _, err := plainjobs.Step(ctx, "charge", func(context.Context) (int, error) { charges.Add(1); return 1, nil }); err != nil {
			return err
		}
		info, _ := plainjobs.FromContext(ctx)
		for range 3 {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			name := "first"
			if info.Attempt > 2 {
				name = "second"
			}
			n, err := plainjobs.StepTx(ctx, tx, name, func() (int, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO booking VALUES (?)", name)
				return 42, err
			})
			if err == nil && n != 42 {
				err = errors.New("another result")
			}
			switch {
			case err != nil:
				return err
			case info.Attempt == 1 && tries.Add(1) < 3: // another transaction of the same run
				_ = tx.Rollback()
				continue
			case info.Attempt == 1:
				return plainjobs.RetryAfter(0, errors.New("rolled back"))
			}
			if err := tx.Commit(); err != nil {
				return err
			}
			if info.Attempt == 2 {
				return plainjobs.RetryAfter(0, errors.New("again, after the commit"))
			}
			break
		}
		return plainjobs.Sleep(ctx, "nap", time.Millisecond)
	})
	ids := perform(t, q, jobA.With("x"))
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
	eventually(t, "it is done", func() bool { return count(t, b, backend.Done, backend.Failed) == 1 })
	mustStop(t, stop)
	if got := info(t, b, ids[0]); got.State != backend.Done || got.Failures != 2 {
		t.Errorf("the job is %+v, want done after two failures", got)
	}
	var bookings string
	if err := db.QueryRow("SELECT group_concat(step) FROM booking").Scan(&bookings); err != nil || bookings != "first,second" || charges.Load() != 1 {
		t.Errorf("the bookings are %q, %v, and %d charges; want each once", bookings, err, charges.Load())
	}
}

// A job that sleeps or waits for a signal has no slot.
func TestSleepReleasesTheSlot(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	signal := plainjobs.DefineSignal[string]("go")
	var got atomic.Value
	jobs := bind(q, jobA, func(ctx context.Context, s string) error {
		if s == "other" {
			return nil
		}
		v, err := signal.Wait(ctx, s, time.Hour)
		if err == nil {
			got.Store(v)
		}
		return err
	})
	ids := perform(t, q, jobA.With("waits"))
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
	eventually(t, "it waits", func() bool { return info(t, b, ids[0]).Waits.Name == "go" })
	other := perform(t, q, jobA.With("other"))
	eventually(t, "the other is done", func() bool { return info(t, b, other[0]).State == backend.Done })
	if err := signal.Send(t.Context(), q, "waits", "now"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is done", func() bool { return info(t, b, ids[0]).State == backend.Done })
	mustStop(t, stop)
	if got.Load() != "now" || info(t, b, ids[0]).Failures != 0 {
		t.Errorf("it got %v, and is %+v", got.Load(), info(t, b, ids[0]))
	}
}
