package plainjobs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// A job that waits too long is worth nothing any more.
func ExampleBefore() {
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	soon := time.Now().Add(time.Hour)
	id, err := queue.Perform(ctx, Welcome.With(User{Name: "Ada"}, plainjobs.Before(soon), plainjobs.Priority(10)))
	if err != nil {
		log.Fatal(err)
	}
	info, err := queue.Get(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.ExpiresAt.Sub(info.CreatedAt).Round(time.Minute), info.Priority)
	// Output: 1h0m0s 10
}

// Slow is told after a minute that it takes too long.
var Slow = plainjobs.Define("slow", func(ctx context.Context, url string) error {
	deadline, ok := ctx.Deadline()
	fmt.Println(ok, time.Until(deadline).Round(time.Minute))
	return nil
}, plainjobs.Timeout(time.Minute), plainjobs.Concurrency(2))

// A run may have a time limit, and a worker a limit of runs of one job.
func ExampleTimeout() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	if _, err := queue.Perform(context.Background(), Slow.With("https://example.com")); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Slow)
	// Output: true 1m0s
}

// One sign-up mail for an address, however often it is asked for.
func ExampleUnique() {
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	ada := User{Name: "Ada", Email: "ada@example.com"}
	first, err := queue.Perform(ctx, Welcome.With(ada, plainjobs.Unique(ada.Email, plainjobs.For(24*time.Hour))))
	if err != nil {
		log.Fatal(err)
	}
	again, err := queue.Perform(ctx, Welcome.With(ada, plainjobs.Unique(ada.Email)))
	fmt.Println(again == first, err)

	id, err := queue.Perform(ctx, Welcome.With(ada, plainjobs.Unique(ada.Email, plainjobs.Reject())))
	fmt.Println(id == first, errors.Is(err, plainjobs.ErrDuplicate))
	// Output:
	// true <nil>
	// true true
}

// Reindex runs once for a document that changes again and again.
var Reindex = plainjobs.Declare[string]("reindex",
	plainjobs.UniqueBy(func(document string) string { return document }, plainjobs.Replace()))

// The last of many calls counts: it has the newest data, and its time.
func ExampleReplace() {
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	for range 3 {
		if _, err := queue.Perform(ctx, Reindex.With("readme", plainjobs.In(time.Minute))); err != nil {
			log.Fatal(err)
		}
	}
	n, _, err := queue.Count(ctx, plainjobs.Filter{Names: []string{"reindex"}}, true)
	fmt.Println(n, err)
	// Output: 1 <nil>
}

// Payout moves money: one at a time for an account, in order.
var Payout = plainjobs.Define("payout", func(_ context.Context, account string) error {
	fmt.Println("pays", account)
	return nil
}, plainjobs.SerialBy(func(account string) string { return account }))

// Jobs with one key run one after the other; others pass them by.
func ExampleSerialBy() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	ids, err := queue.PerformMany(ctx, Payout.With("A"), Payout.With("A"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(queue.Why(ctx, ids[1]))
	workUntilDone(queue, store, Payout)
	// Output:
	// Its serial key "A" is held by job #1, which has to end first. <nil>
	// pays A
	// pays A
}

// Geocode asks a service that allows ten calls a second, three at once.
var Geocode = plainjobs.Define("geocode", func(_ context.Context, address string) error {
	fmt.Println("found", address)
	return nil
}, plainjobs.RateLimit(10, time.Second), plainjobs.MaxRunning(3), plainjobs.MaxPending(2))

// Limits hold for all processes together.
func ExampleRateLimit() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	if _, err := queue.PerformMany(ctx, Geocode.With("Hof 1"), Geocode.With("Hof 2")); err != nil {
		log.Fatal(err)
	}
	_, err := queue.Perform(ctx, Geocode.With("Hof 3"))
	fmt.Println("full:", errors.Is(err, plainjobs.ErrQueueFull))
	workUntilDone(queue, store, Geocode)
	// Unordered output:
	// full: true
	// found Hof 1
	// found Hof 2
}

// Sum has a result.
var Sum = plainjobs.DefineResult("sum", func(ctx context.Context, numbers []int) (int, error) {
	sum := 0
	for i, n := range numbers {
		sum += n
		plainjobs.Progress(ctx, int64(i+1), int64(len(numbers)))
	}
	return sum, nil
}, plainjobs.Keep(plainjobs.History{Done: time.Hour}))

// A result is typed, and may be awaited in any process.
func ExampleResultJob_Await() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	id, err := queue.Perform(ctx, Sum.With([]int{1, 2, 3}))
	if err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Sum)
	fmt.Println(Sum.Await(ctx, queue, id))
	// Output: 6 <nil>
}

// Deposit is completed in the transaction that has its effect.
var Deposit = plainjobs.Declare[int]("deposit")

// The effect of a handler in the database, and the end of its job, are one
// transaction: it happens once, however often the job runs.
func ExampleComplete() {
	db, err := sql.Open("sqlite", "file:"+tempFile("bank.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE balance (amount INTEGER)"); err != nil {
		log.Fatal(err)
	}
	store, err := sqlite.New(db, nil)
	if err != nil {
		log.Fatal(err)
	}
	queue := plainjobs.New(store, nil)
	defer queue.Close()
	plainjobs.Handle(queue, Deposit, func(ctx context.Context, amount int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO balance VALUES (?)", amount); err != nil {
			return err
		}
		if err := plainjobs.Complete(ctx, tx); err != nil {
			return err
		}
		return tx.Commit()
	})
	if _, err := queue.Perform(context.Background(), Deposit.With(10)); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Deposit)
	var balance int
	fmt.Println(db.QueryRow("SELECT sum(amount) FROM balance").Scan(&balance), balance)
	// Output: <nil> 10
}

// What failed last night is looked at and tried again.
func ExampleQueue_Retry() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	if _, err := queue.PerformMany(ctx, Fetch.With(""), Fetch.With("a"), Fetch.With("b")); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Fetch)

	bad := plainjobs.Filter{
		Names: []string{"fetch"}, States: []plainjobs.State{plainjobs.Failed, plainjobs.Cancelled},
		Error: "no address", Since: time.Now().Add(-time.Hour),
	}
	jobs, _, err := queue.List(ctx, bad, 0, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, job := range jobs {
		fmt.Println(job.ID, job.State)
	}
	fmt.Println(queue.Retry(ctx, bad))
	fmt.Println(queue.Cancel(ctx, plainjobs.Filter{Names: []string{"fetch"}})) // those that wait
	fmt.Println(queue.Delete(ctx, plainjobs.Filter{Names: []string{"fetch"}}))
	// Unordered output:
	// fetched a in attempt 1
	// fetched b in attempt 1
	// 1 cancelled
	// 1 <nil>
	// 1 <nil>
	// 3 <nil>
}

// An operator asks what holds a job.
func ExampleQueue_Why() {
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	id, err := queue.Perform(ctx, Welcome.With(User{}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(queue.Why(ctx, id))
	if err := queue.Pause(ctx, "welcome"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(queue.Why(ctx, id))
	// Output:
	// No worker is alive: start one. <nil>
	// Jobs named welcome are paused: resume them. <nil>
}

// Pauses hold in all processes, until they are lifted.
func ExampleQueue_Pause() {
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	if err := queue.Pause(ctx, "welcome"); err != nil {
		log.Fatal(err)
	}
	names, err := queue.Names(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(names[0].Name, names[0].Paused)
	fmt.Println(queue.Resume(ctx, "welcome"))
	// Output:
	// welcome true
	// <nil>
}

// A limit is changed at run time, for all processes, and returns to what programs define.
func ExampleQueue_Override() {
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	err := queue.Override(ctx, "welcome", "ada", plainjobs.MaxRunning(2), plainjobs.RateLimit(100, time.Second))
	if err != nil {
		log.Fatal(err)
	}
	names, err := queue.Names(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(names[0].Name, names[0].MaxRunning, names[0].Rate, names[0].Override.By)
	fmt.Println(queue.Override(ctx, "welcome", "ada"))
	// Output:
	// welcome 2 100 ada
	// <nil>
}

// Middleware is around every run, here to count failures by name.
func ExampleUse() {
	failures := map[string]int{}
	count := func(next plainjobs.Handler) plainjobs.Handler {
		return func(ctx context.Context, job *plainjobs.Info) error {
			err := next(ctx, job)
			if err != nil {
				failures[job.Name]++
			}
			return err
		}
	}
	store := memory.New(nil)
	queue := plainjobs.New(store, &plainjobs.Options{Middleware: []plainjobs.Middleware{count}})
	if _, err := queue.Perform(context.Background(), Fetch.With("")); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Fetch)
	fmt.Println(failures)
	// Output: map[fetch:1]
}

// A subscription hears of what happens to jobs in this process.
func ExampleQueue_Subscribe() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	stop := queue.Subscribe(func(e plainjobs.Event) { fmt.Println(e.Job.Name, e.Kind) })
	defer stop()
	if _, err := queue.Perform(context.Background(), Welcome.With(User{Name: "Ada"})); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Welcome)
	// Output:
	// welcome pushed
	// welcome started
	// welcome, Ada
	// welcome done
}

// Audit logs with its job's name, ID and attempt.
var Audit = plainjobs.Define("audit", func(ctx context.Context, _ string) error {
	plainjobs.Logger(ctx).Info("looked at")
	return nil
})

// A handler's logger knows its job.
func ExampleLogger() {
	store := memory.New(nil)
	plain := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	queue := plainjobs.New(store, &plainjobs.Options{Logger: plain})
	if _, err := queue.Perform(context.Background(), Audit.With("")); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Audit)
	// Output: level=INFO msg="looked at" job=audit id=1 attempt=1
}

// Report runs at six on workdays in Berlin, whatever number of processes there
// are, and once for a tick that was missed.
var Report = plainjobs.Cron("report", "0 6 * * 1-5", func(ctx context.Context, tick time.Time) error {
	return nil
}, plainjobs.Zone("Europe/Berlin"), plainjobs.CatchUp(1))

// A schedule is a variable, like a job, and can be looked ahead at.
func ExampleCron() {
	friday := time.Date(2026, 10, 23, 12, 0, 0, 0, time.UTC)
	ticks, err := plainjobs.NextTicks(Report.Name(), friday, 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, tick := range ticks {
		fmt.Println(tick.Format(time.RFC1123))
	}
	// Output:
	// Mon, 26 Oct 2026 06:00:00 CET
	// Tue, 27 Oct 2026 06:00:00 CET
}

// A task of any job can be scheduled, also one whose handler is bound later.
func ExampleSchedule() {
	plainjobs.Schedule("goodbye-monthly", "@monthly", Goodbye.With(User{Email: "all@example.com"})) // in a package-level var or init
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	id, err := queue.RunSchedule(ctx, "goodbye-monthly") // now, apart from its ticks
	if err != nil {
		log.Fatal(err)
	}
	info, err := queue.Get(ctx, id)
	fmt.Println(info.Name, string(info.Payload), err)
	// Output: goodbye {"Name":"","Email":"all@example.com"} <nil>
}
