package plainjobs_test

import (
	"context"
	"fmt"
	"log"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// Invoice is sent for one of many customers.
type Invoice struct {
	Customer string
	Number   int
}

// SendInvoice takes turns by customer.
var SendInvoice = plainjobs.Define("send-invoice", func(_ context.Context, i Invoice) error {
	fmt.Println(i.Customer, i.Number)
	return nil
}, plainjobs.Concurrency(1), plainjobs.FairBy(func(i Invoice) string { return i.Customer }))

// A customer with many invoices does not delay one with few.
func ExampleFairBy() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	var tasks []plainjobs.Task
	for n := range 4 {
		tasks = append(tasks, SendInvoice.With(Invoice{"Large & Co", n + 1}))
	}
	tasks = append(tasks, SendInvoice.With(Invoice{"Ada", 1}), SendInvoice.With(Invoice{"Ada", 2}))
	if _, err := queue.PerformMany(context.Background(), tasks...); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, SendInvoice)
	// Output:
	// Large & Co 1
	// Ada 1
	// Large & Co 2
	// Ada 2
	// Large & Co 3
	// Large & Co 4
}
