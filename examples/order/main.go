// Order is a shop's order as a flow: the stock and the card, a person's approval above 1,000.00,
// the parcel, and a mail.
//
//	go run ./examples/order place 1 lamp 4500
//	go run ./examples/order place 2 piano 250000
//	go run ./examples/order work --drain
//	go run ./examples/order flow 2
//	go run ./examples/order approve 2 Ada
//	go run ./examples/order work --drain
//	go run ./examples/order dashboard
//
// The dashboard draws an order at /group?id= and its number in the list of groups.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/cli"
	"github.com/plainjobs/plainjobs/dashboard"
)

func main() {
	root := &cobra.Command{Use: "order", Short: "Orders of a shop"}
	root.AddCommand(cli.Commands(cli.App{Open: open, Dashboard: dashboard.Handler})...)
	root.AddCommand(&cobra.Command{
		Use: "place ID ITEM CENTS", Short: "Place an order", Args: cobra.ExactArgs(3),
		RunE: withQueue(func(ctx context.Context, q *plainjobs.Queue, args []string) error {
			id, err := strconv.Atoi(args[0])
			if err != nil {
				return err
			}
			cents, err := strconv.Atoi(args[2])
			if err != nil {
				return err
			}
			flow, err := place(ctx, q, order{ID: id, Item: args[1], Cents: cents})
			if err == nil {
				fmt.Println("flow", flow.ID())
			}
			return err
		}),
	}, decide("approve", true), decide("refuse", false))
	log.SetFlags(0)
	if err := root.Execute(); err != nil {
		log.Fatal(err)
	}
}

// decide returns the command that sends a decision.
func decide(name string, approved bool) *cobra.Command {
	return &cobra.Command{
		Use: name + " ID PERSON", Short: "Let a person " + name + " an order", Args: cobra.ExactArgs(2),
		RunE: withQueue(func(ctx context.Context, q *plainjobs.Queue, args []string) error {
			id, err := strconv.Atoi(args[0])
			if err != nil {
				return err
			}
			return approval.Send(ctx, q, order{ID: id}.key(), decision{approved, args[1]})
		}),
	}
}

// withQueue opens the queue for a command.
func withQueue(run func(ctx context.Context, q *plainjobs.Queue, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		ctx := context.Background()
		q, err := open(ctx)
		if err != nil {
			return err
		}
		return errors.Join(run(ctx, q, args), q.Close())
	}
}

func open(ctx context.Context) (*plainjobs.Queue, error) {
	store, err := modernc.Open("orders.db", &sqlite.Options{NoMigrate: cli.ReadOnly(ctx)})
	if err != nil {
		return nil, err
	}
	return plainjobs.New(store, nil), nil
}
