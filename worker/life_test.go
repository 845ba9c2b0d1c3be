package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	timeoutJob = plainjobs.Declare[string]("life/timeout", plainjobs.Timeout(time.Minute), plainjobs.MaxAttempts(1))
	cappedJob  = plainjobs.Declare[string]("life/capped", plainjobs.Concurrency(2), plainjobs.Aliases("life/capped-old"))
	narrowJob  = plainjobs.Declare[string]("life/narrow", plainjobs.Concurrency(1), plainjobs.Aliases("life/narrow-old"))
	maxJob     = plainjobs.Declare[string]("life/max", plainjobs.MaxRunning(3))
	rateJob    = plainjobs.Declare[string]("life/rate", plainjobs.RateLimit(5, time.Minute))
	serialJob  = plainjobs.Declare[string]("life/serial", plainjobs.SerialBy(func(s string) string { return s[:1] }))
	keptJob    = plainjobs.Declare[string]("life/kept", plainjobs.Keep(plainjobs.History{Done: -1}))
	sumJob     = plainjobs.DeclareResult[[]int, int]("life/sum")

	hourlyJob = plainjobs.Cron("life/hourly", "0 * * * *", func(context.Context, time.Time) error { return nil })
	skipJob   = plainjobs.Cron("life/skip", "0 * * * *", func(context.Context, time.Time) error { return nil }, plainjobs.CatchUp(0))
	threeJob  = plainjobs.Cron("life/three", "0 * * * *", func(context.Context, time.Time) error { return nil }, plainjobs.CatchUp(3))
	everyJob  = plainjobs.Every("life/every", 10*time.Minute, func(context.Context, time.Time) error { return nil })
	marsJob   = plainjobs.Cron("life/mars", "0 * * * *", func(context.Context, time.Time) error { return nil }, plainjobs.Zone("Mars/Olympus"))
)

// A result is available in another process as soon as the job is done.
func TestAwait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	q, other := plainjobs.New(openSQLite(t, path, nil), nil), plainjobs.New(openSQLite(t, path, nil), nil)
	plainjobs.HandleResult(q, sumJob, func(_ context.Context, ns []int) (sum int, err error) {
		for _, n := range ns {
			sum += n
		}
		return sum, nil
	})
	stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{sumJob}})
	id := perform(t, other, sumJob.With([]int{1, 2, 3}))[0]
	if sum, err := sumJob.Await(t.Context(), other, id); sum != 6 || err != nil {
		t.Errorf("Await = %d, %v, want 6", sum, err)
	}
	mustStop(t, stop)
}

// The writes of a handler and the end of its job are one transaction, which decides,
// whatever the handler returns.
func TestCompleteInTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE balance (amount INTEGER)"); err != nil {
		t.Fatal(err)
	}
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	q := plainjobs.New(b, nil)
	jobs := bind(q, jobA, func(ctx context.Context, s string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO balance VALUES (10)"); err != nil {
			return err
		}
		if err := plainjobs.Complete(ctx, tx); err != nil {
			return err
		}
		switch s {
		case "rolled back":
			return nil
		case "committed, then fails":
			return errors.Join(tx.Commit(), errors.New("after all"))
		}
		return tx.Commit()
	})
	ids := perform(t, q, jobA.With("committed"), jobA.With("committed, then fails"),
		jobA.With("rolled back", plainjobs.MaxAttempts(1)), jobA.With("committed", plainjobs.Serial("s")), jobA.With("committed", plainjobs.Serial("s")))
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
	eventually(t, "all have ended", func() bool { return count(t, b, backend.Done, backend.Failed) == int64(len(ids)) })
	mustStop(t, stop)
	for i, want := range []backend.State{backend.Done, backend.Done, backend.Failed, backend.Done, backend.Done} {
		if got := info(t, b, ids[i]); got.State != want || want == backend.Failed && !strings.Contains(got.Errors[0].Error, "was not committed") {
			t.Errorf("job %d is %v with %+v, want %v", i, got.State, got.Errors, want)
		}
	}
	var sum int
	if err := db.QueryRow("SELECT sum(amount) FROM balance").Scan(&sum); err != nil || sum != 40 {
		t.Errorf("the balance is %d, %v, want 40: each effect once", sum, err)
	}
	if err := plainjobs.Complete(t.Context(), nil); err == nil {
		t.Error("Complete outside of a handler is no error")
	}
}

func TestEvents(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			switch s {
			case "fails":
				return errors.New("no")
			case "cancels":
				return plainjobs.Cancel(nil)
			case "snoozes":
				return plainjobs.Snooze(time.Hour)
			}
			return nil
		})
		var mu sync.Mutex
		var events []string
		stopEvents := q.Subscribe(func(e plainjobs.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprintf("%d %v", e.Job.ID, e.Kind))
		})
		ids := perform(t, q, jobA.With("does"), jobA.With("fails"), jobA.With("fails", plainjobs.MaxAttempts(1)),
			jobA.With("cancels"), jobA.With("snoozes"))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		eventually(t, "all have run", func() bool { return count(t, b, backend.Pending, backend.Running) == 0 })
		mustStop(t, stop)
		stopEvents()
		var want []string
		for _, id := range ids {
			want = append(want, fmt.Sprint(id, " pushed"))
		}
		for i, kind := range []string{"done", "retried", "failed", "cancelled", "snoozed"} {
			want = append(want, fmt.Sprint(ids[i], " started"), fmt.Sprint(ids[i], " ", kind))
		}
		if !slices.Equal(events, want) {
			t.Errorf("events are %q, want %q", events, want)
		}
	})
}

// The Keep of a definition applies.
func TestKeep(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		jobs := bind(q, keptJob, func(context.Context, string) error { return nil })
		jobs = append(jobs, bind(q, jobA, func(context.Context, string) error { return nil })...)
		ids := perform(t, q, keptJob.With(""), jobA.With(""))
		stop := start(t, q, worker.Options{Jobs: jobs})
		eventually(t, "both are done", func() bool { return count(t, b, backend.Pending, backend.Running) == 0 })
		mustStop(t, stop)
		if _, err := q.Get(t.Context(), ids[0]); !errors.Is(err, plainjobs.ErrNotFound) {
			t.Errorf("a job that is kept no time is there: %v", err)
		}
		if s := state(t, b, ids[1]); s != backend.Done {
			t.Errorf("the other is %v", s)
		}
	})
}
