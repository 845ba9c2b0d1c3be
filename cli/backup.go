package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

// A keeper is a store whose database is a file that can be copied and put back,
// as that of package backend/sqlite.
type keeper interface {
	Backup(ctx context.Context, file string) (jobs int64, err error)
	Restore(ctx context.Context, file string) (jobs int64, kept string, err error)
}

func keeperOf(q *plainjobs.Queue, what string) (keeper, error) {
	k, err := storeOf[keeper](q, what)
	if err != nil {
		err = fmt.Errorf("%w; use the tool of the database, as pg_dump for PostgreSQL, or export and import", err)
	}
	return k, err
}

// A saving is what backup and restore print with --json.
type saving struct {
	File string `json:"file"`
	Jobs int64  `json:"jobs"`
	Kept string `json:"kept,omitempty"`
}

func (p *program) backupCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "backup FILE [flags]",
		Short: "Copy the whole database to a file",
		Long: `Backup copies a SQLite database to a file, with everything in it, the tables of
the application included. The queue may be at work: the copy is of one moment. It
is checked, and takes its name when it is complete; only its owner may read it.
For the jobs alone, or another kind of database, see export.`,
		Example: `  backup /backups/app.db
  backup --yes /backups/app.db`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before a file is written over")
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		q, done, err := p.look(ctx)
		if err != nil {
			return err
		}
		defer done()
		k, err := keeperOf(q, "backup")
		if err != nil {
			return err
		}
		file := args[0]
		switch info, err := os.Stat(file); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is there and is no file", file)
		case !yes:
			if err := s.ask(ctx, file+" is there already: write over it?"); err != nil {
				return err
			}
		}
		jobs, err := k.Backup(ctx, file)
		if err != nil {
			return err
		}
		if s.json {
			return s.object(saving{File: file, Jobs: jobs})
		}
		s.say("copied the database, with %s, to %s", plural(jobs, "job"), file)
		return nil
	})
}

func (p *program) restoreCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "restore FILE [flags]",
		Short: "Put a backup in the place of the database",
		Long: `Restore puts a copy of a backup in the place of a SQLite database, when it has
checked it. Every other program that has the database open must be stopped before:
else nothing is changed. The database that was there is kept under another name,
which is printed. A database that does not open any more is to be moved away first,
with the files of its name that end in -wal and -shm.

What was stored after the backup was made is not in it: jobs that have run since run
again, and ticks that have passed since come as their schedules say for ticks that
were missed. To look at that first, pause --all before workers are started.`,
		Example: `  restore /backups/app.db
  restore --yes /backups/app.db`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before the database is replaced")
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		file := args[0]
		if _, err := os.Stat(file); err != nil {
			return err // before a database is made for it
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		k, err := keeperOf(q, "restore")
		if err != nil {
			return err
		}
		if !yes {
			if err := s.ask(ctx, "replace the database by "+file+"?"); err != nil {
				return err
			}
		}
		jobs, kept, err := k.Restore(ctx, file)
		if err != nil {
			return err
		}
		if s.json {
			return s.object(saving{file, jobs, kept})
		}
		s.say("restored the database, with %s, from %s", plural(jobs, "job"), file)
		if kept != "" {
			s.say("what was there before is %s", kept)
		}
		return nil
	})
}
