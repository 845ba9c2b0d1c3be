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

// Rows are inserted together. A row that is refused fails its own job.
var InsertRows = plainjobs.DefineBatch("insert-rows", func(_ context.Context, rows []string) error {
	fmt.Println("inserts", len(rows), "rows")
	failed := plainjobs.BatchError{}
	for i, row := range rows {
		if row == "" {
			failed[i] = plainjobs.Cancel(errors.New("the row is empty"))
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}, plainjobs.MaxBatch(500), plainjobs.Linger(50*time.Millisecond))

func ExampleDefineBatch() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ids, err := queue.PerformMany(context.Background(), InsertRows.With("a"), InsertRows.With(""), InsertRows.With("c"))
	if err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, InsertRows)
	for _, id := range ids {
		job, err := queue.Get(context.Background(), id)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(job.State)
	}
	// Output:
	// inserts 3 rows
	// done
	// cancelled
	// done
}
