// Import loads a file of customers, each row as a job, and reports at the end:
//
//	go run ./examples/import generate customers.csv 100000
//	go run ./examples/import load customers.csv
//	go run ./examples/import work --drain
//	go run ./examples/import group 1
//
// The jobs of a file are a group. A callback of the group writes the report next to the
// file: how many rows were imported, and which were refused and why. A row that fails for a
// reason that may pass, such as a busy database, is retried, and the report waits for it.
// The rows become jobs a thousand at a time, in jobs of the group, so that a crash while the
// file is read neither loses nor repeats a row.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/cli"
)

// An app is the application: its database, and the queue in it.
type app struct {
	db    *sql.DB
	queue *plainjobs.Queue
}

func main() {
	a := &app{}
	root := &cobra.Command{Use: "import", Short: "Import customers from files"}
	root.AddCommand(cli.Commands(cli.App{
		Open: a.open,
		Setup: func(_ context.Context, q *plainjobs.Queue) error {
			a.bind(q)
			return nil
		},
		Close: a.close,
	})...)
	root.AddCommand(&cobra.Command{
		Use: "generate FILE ROWS", Short: "Write a file of made-up customers", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			rows, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			return generate(args[0], rows)
		},
	}, &cobra.Command{
		Use: "load FILE", Short: "Import a file", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := context.Background()
			if _, err := a.open(ctx); err != nil {
				return err
			}
			id, err := a.load(ctx, args[0])
			if err == nil {
				fmt.Fprintln(c.OutOrStdout(), "group", id)
			}
			return errors.Join(err, a.queue.Close(), a.close())
		},
	})
	log.SetFlags(0)
	if err := root.Execute(); err != nil {
		log.Fatal(err)
	}
}

// open opens the database and the queue in it.
func (a *app) open(ctx context.Context) (*plainjobs.Queue, error) {
	db, err := openDB("customers.db")
	if err != nil {
		return nil, err
	}
	store, err := sqlite.New(db, &sqlite.Options{NoMigrate: cli.ReadOnly(ctx)})
	if err != nil {
		return nil, err
	}
	a.db, a.queue = db, plainjobs.New(store, nil)
	return a.queue, nil
}

// close closes the database, after the queue.
func (a *app) close() error { return a.db.Close() }
