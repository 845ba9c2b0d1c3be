package worker_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

// A connection of the application that holds the file's write lock for several leases
// ends no handler: the worker's row can be read, so no other worker has its jobs.
func TestLockedFileLosesNothing(t *testing.T) {
	const lease = 300 * time.Millisecond
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	began, release, causes := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
		close(began) // a second run panics
		<-release
		causes <- context.Cause(ctx)
		return nil
	})
	id := perform(t, q, jobA.With(""))[0]
	stop := start(t, q, worker.Options{Jobs: jobs, Lease: lease})
	<-began

	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker has been silent for four leases", func() bool {
		workers, err := b.Workers(t.Context())
		return err == nil && len(workers) == 1 && time.Since(workers[0].SeenAt) > 4*lease
	})
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	close(release)
	if cause := <-causes; cause != nil {
		t.Errorf("the handler's context has ended: %v", cause)
	}
	eventually(t, "the job is done", func() bool {
		info, err := b.Get(t.Context(), id)
		return err == nil && info.State == backend.Done && info.Failures == 0 && info.Crashes == 0
	})
	mustStop(t, stop)
}
