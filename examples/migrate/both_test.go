package migrate

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/mikestefanello/backlite"
	"github.com/riverqueue/river"
	"maragu.dev/goqite"
	"maragu.dev/goqite/jobs"

	"github.com/plainjobs/plainjobs"
)

var ranBoth func()

var both = plainjobs.Define("both", func(context.Context, payload) error { ranBoth(); return nil })

// testBoth runs a program of two libraries until both have run a job, and then stops it.
func testBoth(t *testing.T, queue *plainjobs.Queue, ran <-chan bool, run func(context.Context) error) {
	t.Helper()
	here := make(chan bool, 1)
	ranBoth = func() { here <- true }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := queue.Perform(ctx, both.With(payload{1})); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	for _, c := range []<-chan bool{here, ran} {
		select {
		case <-c:
		case err := <-ended:
			t.Fatalf("the program ended: %v", err)
		case <-ctx.Done():
			t.Fatal("a job did not run")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the program ended with %v", err)
	}
}

func TestRunWithAsynq(t *testing.T) {
	address := redis(t)
	client := asynq.NewClient(address)
	defer client.Close()
	if _, err := client.Enqueue(asynq.NewTask("old", nil)); err != nil {
		t.Fatal(err)
	}
	queue := newQueue(t)
	ran := make(chan bool, 1)
	testBoth(t, queue, ran, func(ctx context.Context) error {
		server := asynq.NewServer(address, asynq.Config{LogLevel: asynq.FatalLevel})
		return RunWithAsynq(ctx, server, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { ran <- true; return nil }), queue)
	})
}

func TestRunWithBacklite(t *testing.T) {
	db, queue, err := OpenShared(filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	defer queue.Close()
	client, err := backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: 1, ReleaseAfter: time.Hour})
	if err == nil {
		err = client.Install()
	}
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan bool, 1)
	client.Register(backlite.NewQueue(func(context.Context, mail) error { ran <- true; return nil }))
	if _, err := client.Add(mail{1}).Save(); err != nil {
		t.Fatal(err)
	}
	testBoth(t, queue, ran, func(ctx context.Context) error { return RunWithBacklite(ctx, client, queue) })
}

func TestRunWithGoqite(t *testing.T) {
	db, queue, err := OpenShared(filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	defer queue.Close()
	createGoqite(t, db)
	old := goqite.New(goqite.NewOpts{DB: db, Name: "jobs"})
	runner := jobs.NewRunner(jobs.NewRunnerOpts{Queue: old, PollInterval: 10 * time.Millisecond})
	ran := make(chan bool, 1)
	runner.Register("old", func(context.Context, []byte) error { ran <- true; return nil })
	if _, err := jobs.Create(t.Context(), old, "old", goqite.Message{Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	testBoth(t, queue, ran, func(ctx context.Context) error { return RunWithGoqite(ctx, runner, queue) })
}

func createGoqite(t *testing.T, db *sql.DB) {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "maragu.dev/goqite").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "schema_sqlite.sql"))
	if err == nil {
		_, err = db.Exec(string(text))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunWithRiver(t *testing.T) {
	r := newRiver(t)
	ran := make(chan bool, 1)
	workers := river.NewWorkers()
	river.AddWorkerArgs(workers, args{What: "old"}, &riverWorker{run: func(context.Context, *river.Job[args]) error { ran <- true; return nil }})
	config := &river.Config{Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}, Workers: workers}
	r.insert(t, r.client(t, "old", nil), "old", 1, nil)
	testBoth(t, plainjobs.New(r.store, nil), ran, func(ctx context.Context) error { return RunWithRiver(ctx, r.dsn, config) })
}
