package migrate

import (
	"context"
	"database/sql"
	"time"

	"github.com/mikestefanello/backlite"
	"maragu.dev/goqite/jobs"
	_ "modernc.org/sqlite" // the driver

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

// OpenShared opens a file for plainjobs and for another library.
func OpenShared(path string) (*sql.DB, *plainjobs.Queue, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlite.New(db, nil) // sets WAL mode
	if err != nil {
		return nil, nil, err
	}
	return db, plainjobs.New(store, nil), nil
}

// RunWithBacklite works on the tasks of backlite and on the jobs of plainjobs, until ctx
// ends.
func RunWithBacklite(ctx context.Context, client *backlite.Client, queue *plainjobs.Queue) error {
	running := context.WithoutCancel(ctx) // the end of ctx would interrupt backlite's tasks
	client.Start(running)
	err := worker.New(queue, nil).Run(ctx)
	grace, cancel := context.WithTimeout(running, 20*time.Second)
	defer cancel()
	client.Stop(grace)
	return err
}

// RunWithGoqite works on the jobs of goqite and of plainjobs, until ctx ends.
func RunWithGoqite(ctx context.Context, runner *jobs.Runner, queue *plainjobs.Queue) error {
	done := make(chan struct{})
	go func() { defer close(done); runner.Start(ctx) }()
	err := worker.New(queue, nil).Run(ctx)
	<-done
	return err
}
