// Plainjobs inspects a queue and operates on its jobs, without the queue's program:
//
//	plainjobs --db app.db jobs
//	PLAINJOBS_DB=app.db plainjobs retry --all --name invoice
//	plainjobs move app.db postgres://app@db.example.com/app
//
// It does not know the program's jobs and cannot check payloads: perform needs
// --unchecked. Work and dev build and run the program in --package, which must use
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
	"github.com/plainjobs/plainjobs/dashboard"
)

func main() { os.Exit(cli.Execute(root())) }

// withoutProgram are the commands that need the jobs or handlers of a program.
var withoutProgram = []string{"work", "dev", "list", "check"}

// ofProgram returns a command that refers to the same command of a program.
func ofProgram(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return cli.Usage(fmt.Errorf("%s shows the jobs that a program defines, and plainjobs defines none: run go run PKG %s", name, name))
		},
	}
}

func root() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "plainjobs",
		Short: "Inspect a job queue and operate on its jobs",
		Example: `  plainjobs --db app.db stats
  plainjobs --db app.db jobs --state failed
  plainjobs work --parallel 2`,
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			s.onCommandLine, s.command = c.Flags().Changed("db"), c.Name()
		},
	}
	c.PersistentFlags().StringVar(&s.db, "db", "", "the database: a SQLite `FILE`, postgres://… or mysql://…; the default is $PLAINJOBS_DB")
	commands := cli.Commands(cli.App{Open: func(context.Context) (*plainjobs.Queue, error) {
		store, err := s.open()
		if err != nil {
			return nil, err
		}
		return plainjobs.New(store, nil), nil
	}, Dashboard: dashboard.Handler})
	commands = slices.DeleteFunc(commands, func(c *cobra.Command) bool { return slices.Contains(withoutProgram, c.Name()) })
	c.AddCommand(commands...)
	c.AddCommand(ofProgram("list"), ofProgram("check"))
	c.AddCommand(goRun("work", "Build a program and run its worker", &s), goRun("dev", "Build a program and run its web server and worker", &s))
	c.AddCommand(cli.MoveCommand(func(_ context.Context, name string, create bool) (*plainjobs.Queue, error) {
		store, err := openStore(name, true, create)
		if err != nil {
			return nil, err
		}
		return plainjobs.New(store, nil), nil
	}), adoptCommand(&s))
	return c
}
