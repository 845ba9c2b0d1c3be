package migrate

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/mikestefanello/backlite"

	"github.com/plainjobs/plainjobs/internal/adopt"
)

// waitPast waits until a count is zero.
func waitPast(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); count(t, db, query) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never zero: %s", query)
		}
	}
}

type (
	mail    payload
	later   payload
	failing payload
	slow    payload
)

func config(name string) backlite.QueueConfig {
	return backlite.QueueConfig{Name: name, MaxAttempts: 5, Timeout: time.Minute, Backoff: time.Hour}
}

func (mail) Config() backlite.QueueConfig    { return config("mail") }
func (later) Config() backlite.QueueConfig   { return config("later") }
func (failing) Config() backlite.QueueConfig { return config("failing") }
func (slow) Config() backlite.QueueConfig    { return config("slow") }

func TestBacklite(t *testing.T) {
	db, path := newFile(t)
	client, err := backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: 10, ReleaseAfter: time.Hour})
	if err == nil {
		err = client.Install()
	}
	if err != nil {
		t.Fatal(err)
	}
	running := make(chan bool, 1)
	client.Register(backlite.NewQueue(func(context.Context, failing) error { return errors.New("refused") }))
	client.Register(backlite.NewQueue(func(ctx context.Context, _ slow) error {
		running <- true
		<-ctx.Done()
		return ctx.Err()
	}))
	for i := range 3 {
		if _, err := client.Add(failing{i}).Save(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Add(slow{0}).Save(); err != nil {
		t.Fatal(err)
	}
	// The program fails three tasks and dies while it runs another.
	ctx, stop := context.WithCancel(t.Context())
	client.Start(ctx)
	<-running
	waitPast(t, db, "SELECT 3 - count(*) FROM backlite_tasks WHERE attempts = 1 AND claimed_at IS NULL")
	if claimed := count(t, db, "SELECT count(*) FROM backlite_tasks WHERE claimed_at IS NOT NULL"); claimed != 1 {
		t.Fatalf("%d tasks are claimed, want 1", claimed)
	}
	dead := openFile(t, path)
	tx, err := dead.Begin() // keeps the end of the running task from being stored
	if err != nil {
		t.Fatal(err)
	}
	stop()
	client.Stop(t.Context())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	db = openFile(t, path)
	if client, err = backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: 1, ReleaseAfter: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		if _, err := client.Add(mail{i}).Save(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		if _, err := client.Add(later{i}).Wait(time.Hour).Save(); err != nil {
			t.Fatal(err)
		}
	}
	before := count(t, db, "SELECT count(*) FROM backlite_tasks")

	store := openStore(t, path)
	report := adoptBroken(t, db, store, "backlite", adopt.Options{Attempts: 5})
	equal(t, "adopted", report.Adopted, map[string]int64{"mail": 700, "later": 300, "failing": 3})
	equal(t, "left", report.Left, map[string]int64{"claimed by a program": 1})
	all := stored(t, store)
	if left := count(t, db, "SELECT count(*) FROM backlite_tasks"); left != 1 || len(all)+left != before {
		t.Errorf("of %d tasks, %d are left and %d are jobs", before, left, len(all))
	}
	numbers(t, all, "mail", 700)
	numbers(t, all, "later", 300)
	numbers(t, all, "failing", 3)
	if j := find(t, all, "failing", 1); j.MaxAttempts != 4 || !near(j.RunAt, time.Now().Add(time.Hour)) {
		t.Errorf("failing 1 has %d attempts and runs at %v", j.MaxAttempts, j.RunAt)
	}
	if j := find(t, all, "later", 1); j.MaxAttempts != 5 || !near(j.RunAt, time.Now().Add(time.Hour)) {
		t.Errorf("later 1 has %d attempts and runs at %v", j.MaxAttempts, j.RunAt)
	}
}
