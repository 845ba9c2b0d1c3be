// Plainjobs looks into a queue and steers it, without the program that it
// belongs to:
//
//	plainjobs --db app.db jobs
//	PLAINJOBS_DB=app.db plainjobs retry --all --name invoice
//	plainjobs move app.db postgres://app@db.example.com/app
//
// It knows no program's jobs, so it checks no data: perform needs --unchecked.
// Work and dev run the program in --package by "go run", which has to mount
// package cli.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/cli"
)

func main() { os.Exit(cli.Execute(root())) }

// withoutProgram are the commands that say nothing where no jobs are defined,
// or that need handlers.
var withoutProgram = []string{"work", "dev", "list", "check"}

// ofProgram returns a command that says where one is that this program has not.
func ofProgram(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return cli.Usage(fmt.Errorf("%s is about the jobs that a program defines, and this one defines none: go run PKG %s", name, name))
		},
	}
}

func root() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "plainjobs",
		Short: "Look into a queue of background jobs, and steer it",
		Example: `  plainjobs --db app.db stats
  plainjobs --db app.db jobs --state failed
  plainjobs work --parallel 2`,
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			s.told, s.command = c.Flags().Changed("db"), c.Name()
		},
	}
	c.PersistentFlags().StringVar(&s.db, "db", "", "the database: a SQLite `FILE`, or postgres://…; the default is $PLAINJOBS_DB")
	commands := cli.Commands(cli.App{Open: func(context.Context) (*plainjobs.Queue, error) {
		store, err := s.open()
		if err != nil {
			return nil, err
		}
		return plainjobs.New(store, nil), nil
	}})
	commands = slices.DeleteFunc(commands, func(c *cobra.Command) bool { return slices.Contains(withoutProgram, c.Name()) })
	c.AddCommand(commands...)
	c.AddCommand(ofProgram("list"), ofProgram("check"))
	c.AddCommand(goRun("work", "Run jobs, by the program in a package", &s), goRun("dev", "Run web server and worker, by the program in a package", &s))
	c.AddCommand(cli.MoveCommand(func(_ context.Context, name string, create bool) (*plainjobs.Queue, error) {
		store, err := openStore(name, true, create)
		if err != nil {
			return nil, err
		}
		return plainjobs.New(store, nil), nil
	}))
	return c
}
