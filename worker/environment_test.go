package worker_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// A worker of another environment than the store's, or of none, does nothing until the
// store belongs to its environment.
func TestOfAnotherEnvironment(t *testing.T) {
	for _, mine := range []string{"", "laptop"} {
		t.Setenv("PLAINJOBS_ENV", mine)
		synctest.Test(t, func(t *testing.T) {
			b := memory.New(nil)
			ctx := t.Context()
			if moved, err := b.SetEnvironment(ctx, "", "production"); err != nil || !moved {
				t.Fatalf("Move = %v, %v", moved, err)
			}
			// There is something to claim, to rescue, to tick and to prune.
			_, err := b.Push(ctx, []backend.NewJob{{Name: jobA.Name(), Payload: []byte(`"x"`), MaxAttempts: 1}, {Name: jobA.Name(), Payload: []byte(`"x"`), MaxAttempts: 1}})
			if err == nil {
				_, err = b.Claim(ctx, backend.ClaimRequest{
					Worker: backend.Worker{ID: 1, Lease: time.Second}, Register: true, Names: []string{jobA.Name()}, Limit: 1,
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			show := func() (s []any) {
				page, err := b.List(ctx, backend.ListRequest{})
				workers, e := b.Workers(ctx)
				schedules, e2 := b.Schedules(ctx)
				names, e3 := b.Names(ctx)
				if err != nil || e != nil || e2 != nil || e3 != nil {
					t.Fatal(err, e, e2, e3)
				}
				for i := range workers {
					workers[i].Alive = false // that it stays is what counts
				}
				return []any{page, workers, schedules.Schedules, names}
			}
			before := show()
			var log lockedBuffer
			var heard atomic.Int32
			q := plainjobs.New(b, nil)
			ran := make(chan struct{}, 2)
			jobs := bind(q, jobA, func(context.Context, string) error { ran <- struct{}{}; return nil })
			ticking(q, hourlyJob)
			opts := worker.Options{
				Jobs: append(jobs, hourlyJob), Logger: slog.New(slog.NewTextHandler(&log, nil)), OnHeartbeat: func(time.Time) { heard.Add(1) },
			}
			stop := start(t, q, opts)
			time.Sleep(2 * time.Hour)
			if after := show(); !reflect.DeepEqual(after, before) {
				t.Errorf("%q: the store is\n%+v, was\n%+v", mine, after, before)
			}
			want := "command: env " + mine
			if mine == "" {
				want = "command: env --forget"
			}
			if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "PLAINJOBS_ENV=production") || !strings.Contains(text, want) {
				t.Errorf("%q: the log is %q, want one line that says what to do", mine, text)
			}
			if heard.Load() < 2*60 {
				t.Errorf("%q: OnHeartbeat was called %d times", mine, heard.Load())
			}
			mustStop(t, stop)

			opts.Drain = true
			if err := worker.New(q, &opts).Run(ctx); err == nil || !strings.Contains(err.Error(), "PLAINJOBS_ENV=production") {
				t.Errorf("%q: draining the store of another environment ended with %v", mine, err)
			}
			if after := show(); !reflect.DeepEqual(after, before) {
				t.Errorf("%q: after draining the store is\n%+v, was\n%+v", mine, after, before)
			}
			opts.Drain = false
			stop = start(t, q, opts)
			time.Sleep(time.Minute)
			if moved, err := b.SetEnvironment(ctx, "production", mine); err != nil || !moved {
				t.Fatalf("Move = %v, %v", moved, err)
			}
			<-ran
			mustStop(t, stop)
		})
	}
}

// A worker runs no jobs of a copy of the production database, unless its environment
// says so.
func TestCopiedDatabase(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "jobs.db"), filepath.Join(dir, "copied.db")
	t.Setenv("PLAINJOBS_ENV", "production")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	perform(t, q, jobA.With("good"))
	p := spawn(t, path)
	eventually(t, "production runs its jobs", func() bool { return count(t, b, backend.Done) == 1 })
	p.end(t)
	perform(t, q, jobA.With("good"))
	if err := b.Close(); err != nil { // so that all is in the file
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(copied, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}

	t.Setenv("PLAINJOBS_ENV", "laptop")
	c := openSQLite(t, copied, nil)
	p = spawn(t, copied)
	paused := func() int {
		log, _ := os.ReadFile(copied + ".log") // there may be none yet
		return strings.Count(string(log), "paused: the database belongs to another environment")
	}
	eventually(t, "the copy's worker says that it is paused", func() bool { return paused() > 0 })
	workers, err := c.Workers(t.Context())
	if err != nil || len(workers) > 0 || count(t, c, backend.Pending) != 1 {
		t.Errorf("while it is paused there are the workers %+v, %v, and %d pending jobs", workers, err, count(t, c, backend.Pending))
	}
	if moved, err := c.SetEnvironment(t.Context(), "production", "laptop"); err != nil || !moved {
		t.Fatalf("Move = %v, %v", moved, err)
	}
	eventually(t, "the copy belongs to the laptop", func() bool { return count(t, c, backend.Done) == 2 })
	p.end(t)
	if n := paused(); n != 1 {
		t.Errorf("that it is paused it said %d times, want once", n)
	}

	// The original is still production's.
	t.Setenv("PLAINJOBS_ENV", "production")
	b = openSQLite(t, path, nil)
	p = spawn(t, path)
	eventually(t, "production runs its jobs", func() bool { return count(t, b, backend.Done) == 2 })
	p.end(t)
}
