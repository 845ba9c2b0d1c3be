// Twofiles keeps its queue in a file next to the application's database:
//
//	go run ./examples/twofiles order 3
//	go run ./examples/twofiles work --drain
//	go run ./examples/twofiles orders
//
// Application and queue do not wait for each other's writes. In return, no transaction
// covers both: Queue.WithTx refuses a transaction of another file. A process that dies
// between the two commits leaves one without the other. Here the program first stores
// the job, with a unique key of the order. The handler snoozes until the order exists,
// or gives up.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/cli"
	"github.com/plainjobs/plainjobs/dashboard"
)

func main() {
	db, err := openOrders("orders.db")
	if err != nil {
		log.Fatal(err)
	}
	root := &cobra.Command{Use: "twofiles", Short: "A queue in its own file"}
	root.AddCommand(cli.Commands(cli.App{
		Open: openQueue,
		Setup: func(_ context.Context, q *plainjobs.Queue) error {
			plainjobs.Handle(q, ship, db.ship)
			return nil
		},
		Dashboard: dashboard.Handler,
	})...)
	root.AddCommand(&cobra.Command{
		Use: "order ID", Short: "Place an order", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return err
			}
			q, err := openQueue(context.Background())
			if err != nil {
				return err
			}
			defer q.Close()
			return db.place(context.Background(), q, id)
		},
	}, &cobra.Command{
		Use: "orders", Short: "List the orders", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			lines, err := db.list(context.Background())
			for _, line := range lines {
				fmt.Fprintln(c.OutOrStdout(), line)
			}
			return err
		},
	})
	status := cli.Execute(root)
	_ = db.Close() // all data is committed
	os.Exit(status)
}
