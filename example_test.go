package plainjobs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/worker"
)

type User struct{ Name, Email string }

// Jobs are package-level variables.
var Welcome = plainjobs.Define("welcome", func(ctx context.Context, u User) error {
	fmt.Println("welcome,", u.Name)
	return nil
}, plainjobs.MaxAttempts(5))

// Define a job, enqueue it, and work.
func Example() {
	store, err := modernc.Open(tempFile("app.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	queue := plainjobs.New(store, nil)
	defer queue.Close()

	ctx := context.Background()
	if _, err := queue.Perform(ctx, Welcome.With(User{Name: "Ada"})); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Welcome)
	// Output: welcome, Ada
}

// Mailer is a dependency of a handler.
type Mailer struct{ from string }

func (m *Mailer) Send(_ context.Context, u User) error {
	fmt.Println(m.from, "writes to", u.Email)
	return nil
}

// The handler of Goodbye needs a Mailer, which exists only in main.
var Goodbye = plainjobs.Declare[User]("goodbye")

// A handler with dependencies is a method value, bound where they are known.
func ExampleHandle() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	mailer := &Mailer{from: "team@example.com"}
	plainjobs.Handle(queue, Goodbye, mailer.Send)

	if _, err := queue.Perform(context.Background(), Goodbye.With(User{Email: "ada@example.com"})); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Goodbye)
	// Output: team@example.com writes to ada@example.com
}

// The row and its job are stored together, or neither is.
func ExampleQueue_WithTx() {
	path := tempFile("app.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := sqlite.New(db, nil) // on the application's own database
	if err != nil {
		log.Fatal(err)
	}
	queue := plainjobs.New(store, nil)
	defer queue.Close()

	ctx := context.Background()
	signUp := func(u User) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO users (email) VALUES (?)", u.Email); err != nil {
			return err
		}
		if _, err := queue.WithTx(tx).Perform(ctx, Welcome.With(u)); err != nil {
			return err
		}
		return tx.Commit()
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE users (email TEXT UNIQUE)"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(signUp(User{Name: "Ada", Email: "ada@example.com"}))
	fmt.Println(signUp(User{Name: "Eve", Email: "ada@example.com"}) != nil)
	workUntilDone(queue, store, Welcome)
	// Output:
	// <nil>
	// true
	// welcome, Ada
}

var Fetch = plainjobs.Define("fetch", func(ctx context.Context, url string) error {
	info, _ := plainjobs.FromContext(ctx)
	switch {
	case url == "":
		return plainjobs.Cancel(errors.New("no address")) // never again
	case url == "busy" && info.Attempt == 1:
		return plainjobs.RetryAfter(time.Millisecond, errors.New("too many requests"))
	}
	fmt.Println("fetched", url, "in attempt", info.Attempt)
	return nil
})

// A handler says by its error how the job goes on.
func ExampleRetryAfter() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	if _, err := queue.PerformMany(context.Background(), Fetch.With(""), Fetch.With("busy")); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Fetch)
	// Output: fetched busy in attempt 2
}

var Sync = plainjobs.Define("sync", func(context.Context, string) error {
	return errors.New("host is down")
},
	plainjobs.MaxAttempts(3),
	plainjobs.Backoff(func(attempt int, err error) time.Duration {
		fmt.Printf("attempt %d: %v\n", attempt, err)
		return time.Duration(attempt) * time.Millisecond
	}))

// A job may have its own policy of retries.
func ExampleBackoff() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	if _, err := queue.Perform(context.Background(), Sync.With("")); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Sync)
	// Output:
	// attempt 1: host is down
	// attempt 2: host is down
}

// Tasks may wait, or go before others.
func ExampleIn() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	id, err := queue.Perform(context.Background(), Welcome.With(User{Name: "Ada"}, plainjobs.In(time.Hour)))
	if err != nil {
		log.Fatal(err)
	}
	info, err := store.Get(context.Background(), id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.State, info.RunAt.Sub(info.CreatedAt))
	// Output: scheduled 1h0m0s
}

// The default queue is for programs that have one.
func ExamplePerform() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	plainjobs.SetDefault(queue)
	defer plainjobs.SetDefault(nil)

	if _, err := plainjobs.Perform(context.Background(), Welcome.With(User{Name: "Grace"})); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Welcome)
	// Output: welcome, Grace
}

// workUntilDone works on jobs until the store has none left to do.
func workUntilDone(queue *plainjobs.Queue, store backendReader, jobs ...plainjobs.AnyJob) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		for busy := true; busy; {
			time.Sleep(time.Millisecond)
			counts, err := store.Count(ctx)
			busy = err != nil
			for _, c := range counts {
				busy = busy || !c.State.Terminal()
			}
		}
	}()
	if err := worker.New(queue, &worker.Options{Jobs: jobs, Logger: discard}).Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func tempFile(name string) string {
	dir, err := os.MkdirTemp("", "plainjobs")
	if err != nil {
		log.Fatal(err)
	}
	tempDirs = append(tempDirs, dir)
	return filepath.Join(dir, name)
}
