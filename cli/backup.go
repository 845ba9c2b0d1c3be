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

// A backupStore is a store that can back up and restore its database, as
// backend/sqlite does.
type backupStore interface {
	Backup(ctx context.Context, file string) (jobs int64, err error)
	Restore(ctx context.Context, file string) (jobs int64, kept string, err error)
}

func backupStoreOf(q *plainjobs.Queue, what string) (backupStore, error) {
	b, err := storeOf[backupStore](q, what)
	if err != nil {
		err = fmt.Errorf("%w; use the database's own tool, e.g. pg_dump, or export and import", err)
	}
	return b, err
}

// A backupRecord is the output of backup and restore with --json.
type backupRecord struct {
	File string `json:"file"`
	Jobs int64  `json:"jobs"`
	Kept string `json:"kept,omitempty"`
}

func (p *program) backupCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "backup FILE [flags]",
		Short: "Copy the whole database to a file",
		Long: `Backup copies a whole SQLite database to a file, including the application's
tables. Workers may run meanwhile: the copy shows the database at one moment.
Backup checks the copy before it gives it its name. Only the file's owner may read
it. To copy jobs alone, or from another kind of database, use export.`,
		Example: `  backup /backups/app.db
  backup --yes /backups/app.db`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "overwrite an existing file without asking")
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		b, err := backupStoreOf(q, "backup")
		if err != nil {
			return err
		}
		file := args[0]
		switch info, err := os.Stat(file); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("backup: %s exists and is not a regular file: choose another name", file)
		case !yes:
			if err := s.ask(ctx, "overwrite "+file, confirmYes); err != nil {
				return err
			}
		}
		jobs, err := b.Backup(ctx, file)
		if err != nil {
			return err
		}
		if s.json {
			return s.object(backupRecord{File: file, Jobs: jobs})
		}
		s.say("copied the database, with %s, to %s", plural(jobs, "job"), file)
		return nil
	})
}

func (p *program) restoreCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "restore FILE [flags]",
		Short: "Replace the database with a backup",
		Long: `Restore checks a backup and replaces a SQLite database with a copy of it. First stop
every other program that has the database open; otherwise restore changes nothing.
Restore keeps the old database under another name and prints that name. If the
database no longer opens, first move it away, together with its -wal and -shm files.

The backup lacks what was stored after it was made. Jobs that have run since then
run again. Ticks that have passed since then are missed ticks: the CatchUp of their
schedule applies. To inspect the queue first, run pause --all before you start
workers.`,
		Example: `  restore /backups/app.db
  restore --yes /backups/app.db`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "replace the database without asking")
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		file := args[0]
		if _, err := os.Stat(file); err != nil {
			return err // before Open creates a database
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		b, err := backupStoreOf(q, "restore")
		if err != nil {
			return err
		}
		if !yes {
			if err := s.ask(ctx, "replace the database with "+file, confirmYes); err != nil {
				return err
			}
		}
		jobs, kept, err := b.Restore(ctx, file)
		if err != nil {
			return err
		}
		if s.json {
			return s.object(backupRecord{file, jobs, kept})
		}
		s.say("restored the database, with %s, from %s", plural(jobs, "job"), file)
		if kept != "" {
			s.say("kept the old database as %s", kept)
		}
		return nil
	})
}
