package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// Backup writes a copy of the whole database, with the application's tables, to a file
// and returns the number of jobs in it. The queue may be in use: the copy is a
// consistent snapshot, and is checked. It replaces an existing file when it is
// complete. The copy is one file with mode 0600.
func (b *Backend) Backup(ctx context.Context, file string) (jobs int64, err error) {
	leave, err := b.enter()
	if err != nil {
		return 0, failed(ctx, "backup", err)
	}
	defer leave()
	if b.path == "" {
		return 0, fmt.Errorf("sqlite: backup: %w: the database is in memory or encrypted; use export", errors.ErrUnsupported)
	}
	if b.writer.file.is(file) {
		return 0, fmt.Errorf("sqlite: backup: %w: %s is the database itself", backend.ErrInvalid, file)
	}
	jobs, err = b.copyTo(ctx, b.connector(), file, func(temp string) error { return replaceFile(temp, file) })
	return jobs, failed(ctx, "backup", err)
}

// connector returns a connector to the database.
func (b *Backend) connector() *connector {
	return &connector{driver: b.drv, dsn: fileDSN(b.path), pragmas: backupPragmas, file: b.writer.file}
}

var backupPragmas = []string{"PRAGMA busy_timeout=1000", "PRAGMA mmap_size=0"}

// copyTo writes a copy of a database to a temporary file in the directory of target,
// checks the copy, and calls keep to rename it.
func (b *Backend) copyTo(ctx context.Context, from *connector, target string, keep func(temp string) error) (jobs int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*") // with mode 0600
	if err != nil {
		return 0, err
	}
	temp, err := filepath.Abs(f.Name())
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(temp) }() // unless keep renamed it
	source := from.pool(1)
	_, err = source.ExecContext(ctx, "VACUUM INTO ?", temp)
	if err := errors.Join(err, source.Close()); err != nil {
		return 0, err
	}
	if jobs, err = b.checkCopy(ctx, temp); err != nil {
		return 0, err
	}
	// SQLite has closed the copy, so opening and closing it drops no locks.
	if err := syncFile(temp); err != nil {
		return 0, err
	}
	return jobs, keep(temp)
}

const selectJobCount = `SELECT coalesce(sum(jobs), 0) FROM plainjobs_job_count WHERE state > 0`

// checkCopy checks a copy and returns the number of jobs in it.
func (b *Backend) checkCopy(ctx context.Context, path string) (jobs int64, err error) {
	c := &connector{driver: b.drv, dsn: fileDSN(path), pragmas: backupPragmas}
	db := c.pool(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	q := poolQueryer(db)
	found, err := ask(ctx, q, "PRAGMA integrity_check(1)")
	if err != nil {
		return 0, err
	}
	if found != "ok" {
		return 0, fmt.Errorf("%w: %s", backend.ErrCorrupt, found)
	}
	switch version, err := b.schemaVersion(ctx, q); {
	case err != nil:
		return 0, err
	case version == 0:
		return 0, fmt.Errorf("%w: the database has no queue: there are no tables %s*", backend.ErrInvalid, b.opts.Prefix)
	}
	err = scan(ctx, q, b.sql(selectJobCount), nil, func(r *sql.Rows) error { return r.Scan(&jobs) })
	return jobs, err
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// replaceFile renames a file durably.
func replaceFile(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return host.SyncDir(filepath.Dir(to))
}

const selectWorthless = `
	SELECT NOT EXISTS (SELECT 1 FROM plainjobs_job)
		AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE substr(tbl_name, 1, length(?1)) <> ?1 AND tbl_name NOT LIKE 'sqlite\_%' ESCAPE '\')`

// Restore replaces the database with a copy of a backup and closes the store. It
// returns the number of jobs in the backup, and the new name of the previous database
// if that was not empty.
//
// If another connection of any process has the database open, Restore changes nothing
// and returns an error that matches backend.ErrUnavailable. The backup may be any copy
// of a database with the queue's tables, together with its own write-ahead log.
func (b *Backend) Restore(ctx context.Context, file string) (jobs int64, kept string, err error) {
	jobs, kept, err = b.restore(ctx, file)
	return jobs, kept, failed(ctx, "restore", err)
}

func (b *Backend) restore(ctx context.Context, file string) (jobs int64, kept string, err error) {
	if b.path == "" {
		return 0, "", fmt.Errorf("%w: the database is in memory or encrypted; use import", errors.ErrUnsupported)
	}
	if info, err := os.Stat(file); err != nil {
		return 0, "", err
	} else if !info.Mode().IsRegular() {
		return 0, "", fmt.Errorf("%w: %s is not a regular file", backend.ErrInvalid, file)
	}
	if b.writer.file.is(file) {
		return 0, "", fmt.Errorf("%w: %s is the database itself", backend.ErrInvalid, file)
	}
	abs, err := filepath.Abs(file)
	if err == nil {
		err = checkLeftovers(abs)
	}
	if err != nil {
		return 0, "", err
	}
	worthless := false
	if err := b.begun(func() error {
		return b.read(ctx, func(q queryer) error {
			return scan(ctx, q, b.sql(selectWorthless), []any{b.opts.Prefix}, func(r *sql.Rows) error { return r.Scan(&worthless) })
		})
	}); err != nil {
		return 0, "", err
	}
	if err := b.Close(); err != nil {
		return 0, "", err
	}
	from := &connector{driver: b.drv, dsn: fileDSN(abs), pragmas: backupPragmas}
	jobs, err = b.copyTo(ctx, from, b.path, func(temp string) error {
		if err := host.MatchDatabase(b.path, temp); err != nil {
			return err
		}
		return b.alone(ctx, func() (err error) {
			kept, err = putInPlace(temp, b.path, worthless)
			return err
		})
	})
	return jobs, kept, err
}

// begun calls f while the store is open.
func (b *Backend) begun(f func() error) error {
	leave, err := b.enter()
	if err != nil {
		return err
	}
	defer leave()
	return f()
}

// alone calls f while no other connection has the database open. Only the last
// connection can leave WAL mode, which removes the log.
func (b *Backend) alone(ctx context.Context, f func() error) (err error) {
	c := b.connector()
	c.pragmas = []string{"PRAGMA busy_timeout=0", "PRAGMA mmap_size=0"}
	pool := c.pool(1)
	defer func() { err = errors.Join(err, pool.Close()) }()
	mode := ""
	if err = scan(ctx, pool, "PRAGMA journal_mode=DELETE", nil, func(r *sql.Rows) error { return r.Scan(&mode) }); err == nil && mode == "delete" {
		if _, err = pool.ExecContext(ctx, "BEGIN EXCLUSIVE"); err == nil {
			defer func() {
				_, e := pool.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
				err = errors.Join(err, e)
			}()
			return f()
		}
	}
	if err != nil && !busy(err) {
		return err
	}
	return fmt.Errorf("%w: another program, or another connection of this one, has %s open: stop it first; nothing was changed",
		backend.ErrUnavailable, b.path)
}

// putInPlace renames a file to the database. It keeps the previous database under
// another name, unless that is worthless.
func putInPlace(temp, path string, worthless bool) (kept string, err error) {
	if !worthless {
		kept = path + time.Now().UTC().Format(".before-20060102T150405.000Z")
		// Link, so that a database exists at all times.
		if err := os.Link(path, kept); errors.Is(err, fs.ErrExist) {
			return "", err
		} else if err != nil { // the file system may have no hard links
			if err := os.Rename(path, kept); err != nil {
				return "", err
			}
		}
	}
	return kept, replaceFile(temp, path)
}
