package sqlitetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

var stopJob = plainjobs.Declare[string]("stop")

// testLockedStop stops workers while another process has the write lock. If it keeps the
// lock, Run returns all the same, 5 seconds after the grace, and the job runs again
// later. If it releases the lock in time, the completion is stored.
func (d driver) testLockedStop(t *testing.T) {
	const grace = 2 * time.Second
	for what, keeps := range map[string]bool{"kept": true, "released": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			db := pool(t, d.name, filepath.Join(t.TempDir(), "app.db"))
			b := mustNew(t, db)
			q := plainjobs.New(b, nil)
			runs, finish := make(chan struct{}, 2), make(chan struct{})
			plainjobs.Handle(q, stopJob, func(context.Context, string) error {
				runs <- struct{}{}
				<-finish
				return nil
			})
			run := func() (stop context.CancelFunc, ended chan error) {
				ctx, stop := context.WithCancel(t.Context())
				ended = make(chan error, 1)
				opts := &worker.Options{Jobs: []plainjobs.AnyJob{stopJob}, Grace: grace, Lease: 3 * time.Second, Logger: slog.New(slog.DiscardHandler)}
				go func() { ended <- worker.New(q, opts).Run(ctx) }()
				return stop, ended
			}
			id, err := q.Perform(t.Context(), stopJob.With(""))
			if err != nil {
				t.Fatal(err)
			}
			stop, ended := run()
			<-runs
			release, _ := startChild(t, lockVariable, mainFile(t, db), "locked ")
			close(finish)
			stop()
			begin := time.Now()
			if !keeps {
				time.AfterFunc(grace+time.Second, release)
			}
			select {
			case err := <-ended:
				t.Logf("Run returned %v after its context ended: %v", time.Since(begin), err)
			case <-time.After(grace + 10*time.Second): // 5 of them for a slow machine
				t.Fatalf("Run has not returned within 10 s after the grace")
			}
			release()
			if keeps {
				stop, ended := run()
				<-runs
				defer func() {
					stop()
					if err := <-ended; err != nil {
						t.Errorf("Run = %v", err)
					}
				}()
			}
			for {
				info, err := b.Get(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if info.State == backend.Done {
					break
				}
				if !keeps {
					t.Fatalf("the job is %v after Run has returned, want done", info.State)
				}
			}
		})
	}
}
