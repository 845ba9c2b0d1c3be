package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// A Row is a line of a file.
type Row struct {
	File string
	N    int
}

var (
	// ImportRow imports one row.
	ImportRow = plainjobs.Define("import-row", func(_ context.Context, r Row) error {
		if r.N < 0 {
			return plainjobs.Cancel(errors.New("no such customer"))
		}
		return nil
	})
	// ImportReport runs when the rows of a file are imported.
	ImportReport = plainjobs.Define("import-report", func(ctx context.Context, file string) error {
		group, ok := plainjobs.GroupOf(ctx)
		if !ok {
			return errors.New("not a callback")
		}
		info, err := group.Info(ctx)
		fmt.Printf("%s: %d of %d rows imported, %d refused\n", file, info.Done, info.Total, info.Cancelled)
		return err
	})
)

// A report follows the import of many rows. Rows may be added by several calls, and in the
// caller's transaction.
func ExampleQueue_Group() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	group, err := queue.Group(ctx, plainjobs.OnEnd(ImportReport.With("may.csv")), plainjobs.Label("import of May"))
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range []int{1, 2, -3} {
		if _, err := group.Perform(ctx, ImportRow.With(Row{"may.csv", n})); err != nil {
			log.Fatal(err)
		}
	}
	if err := group.Seal(ctx); err != nil { // no more rows: the group can end
		log.Fatal(err)
	}
	workUntilDone(queue, store, ImportRow, ImportReport)
	// Output: may.csv: 2 of 3 rows imported, 1 refused
}

// Split adds a job for each row to its own group.
var Split = plainjobs.Declare[string]("split")

// A member of a group adds members, also after the group is sealed.
func ExampleGroupOf() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	plainjobs.Handle(queue, Split, func(ctx context.Context, file string) error {
		group, ok := plainjobs.GroupOf(ctx)
		if !ok {
			return errors.New("perform split in a group")
		}
		_, err := group.PerformMany(ctx, ImportRow.With(Row{file, 1}), ImportRow.With(Row{file, 2}))
		return err
	})
	ctx := context.Background()
	group, err := queue.Group(ctx, plainjobs.OnDone(ImportReport.With("june.csv")))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := group.Perform(ctx, Split.With("june.csv")); err != nil {
		log.Fatal(err)
	}
	if err := group.Seal(ctx); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Split, ImportRow, ImportReport)
	// Output: june.csv: 3 of 3 rows imported, 0 refused
}

// Groups in a group: each file has a report of its own. The outer group counts the inner
// one and its callback.
func ExampleGroup_Group() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	year, err := queue.Group(ctx, plainjobs.OnDone(ImportReport.With("the year")))
	if err != nil {
		log.Fatal(err)
	}
	month, err := year.Group(ctx, plainjobs.OnDone(ImportReport.With("january.csv")))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := month.Perform(ctx, ImportRow.With(Row{"january.csv", 1})); err != nil {
		log.Fatal(err)
	}
	for _, g := range []*plainjobs.Group{month, year} {
		if err := g.Seal(ctx); err != nil {
			log.Fatal(err)
		}
	}
	workUntilDone(queue, store, ImportRow, ImportReport)
	// Output:
	// january.csv: 1 of 1 rows imported, 0 refused
	// the year: 2 of 2 rows imported, 0 refused
}

var (
	// Pay fails for good.
	Pay = plainjobs.Define("pay", func(context.Context, int) error { return errors.New("card declined") }, plainjobs.MaxAttempts(1))
	// Refund is the dead letter of Pay.
	Refund = plainjobs.Define("refund", func(ctx context.Context, order int) error {
		fmt.Println("payment failed, order", order)
		return nil
	})
)

// A dead letter: a job that runs when another has failed, after its last attempt.
func ExampleOnFailure() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	if _, err := queue.Perform(context.Background(), Pay.With(7, plainjobs.OnFailure(Refund.With(7)))); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Pay, Refund)
	// Output: payment failed, order 7
}

// The progress of a group. Another process finds the group by its ID.
func ExampleGroup_Info() {
	queue := plainjobs.New(memory.New(nil), nil)
	ctx := context.Background()
	group, err := queue.Group(ctx, plainjobs.Deadline(24*time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := group.PerformMany(ctx, ImportRow.With(Row{"may.csv", 1}), ImportRow.With(Row{"may.csv", 2})); err != nil {
		log.Fatal(err)
	}
	info, err := queue.GroupByID(group.ID()).Info(ctx)
	fmt.Println(info.Total-info.Open, "of", info.Total, info.Sealed, err)

	cancelled, err := group.Cancel(ctx)
	fmt.Println(cancelled, "cancelled", err)
	// Output:
	// 0 of 2 false <nil>
	// 2 cancelled <nil>
}
