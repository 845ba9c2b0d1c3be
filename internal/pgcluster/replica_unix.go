//go:build unix

package pgcluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Replica starts a read-only replica of the cluster and stops it at the end of the test. The
// driver is the name registered with database/sql.
func (c *Cluster) Replica(tb testing.TB, driver string) *Cluster {
	tb.Helper()
	return c.replicaAt(tb, driver, 0)
}

// replicaAt is Replica with a port. Zero means any free port.
func (c *Cluster) replicaAt(tb testing.TB, driver string, port int) *Cluster {
	tb.Helper()
	r, err := newCluster()
	if err != nil {
		tb.Fatal(err)
	}
	r.Port = port
	if err := c.copyTo(tb.Context(), r, driver); err != nil {
		r.remove()
		tb.Fatalf("a copy of the server's files: %v", err)
	}
	if err := r.run(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Stop)
	return r
}

// copyTo copies the files of the running server to a cluster that follows it once it runs.
// It does without pg_basebackup, which has to be of the server's version and may be missing.
func (c *Cluster) copyTo(ctx context.Context, r *Cluster, driver string) error {
	db, err := sql.Open(driver, c.DSN())
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // a backup ends with its session
	var version int
	if err := db.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return err
	}
	start, stop := "SELECT pg_backup_start('replica', true)", "SELECT labelfile FROM pg_backup_stop()"
	if version < 150000 {
		start, stop = "SELECT pg_start_backup('replica', true, false)", "SELECT labelfile FROM pg_stop_backup(false)"
	}
	if _, err := db.ExecContext(ctx, start); err != nil {
		return err
	}
	if err := r.copyFiles(c.dir, "data", "postmaster.pid", "postmaster.opts", "pg_replslot", "pg_dynshmem", "pg_wal"); err != nil {
		return err
	}
	label := ""
	if err := db.QueryRowContext(ctx, stop).Scan(&label); err != nil {
		return err
	}
	if err := r.copyFiles(c.dir, "data/pg_wal"); err != nil { // all of the backup
		return err
	}
	return errors.Join(
		r.write("data/backup_label", label),
		r.write("data/standby.signal", ""),
		r.write("data/postgresql.auto.conf", fmt.Sprintf("primary_conninfo = 'host=%s port=%d user=%s'\n", c.dir, c.Port, Superuser)),
	)
}

// copyFiles copies a directory below the directory of another cluster, whose server runs and
// may remove files meanwhile. It leaves out files, and the content of directories.
func (c *Cluster) copyFiles(from, dir string, without ...string) error {
	return fs.WalkDir(os.DirFS(from), dir, func(path string, entry fs.DirEntry, err error) error {
		switch name, _ := filepath.Rel(dir, path); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir():
			if err := c.mkdir(path); err != nil || !slices.Contains(without, name) {
				return err
			}
			return fs.SkipDir
		case !entry.Type().IsRegular() || slices.Contains(without, name):
			return nil
		}
		data, err := os.ReadFile(filepath.Join(from, path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return c.write(path, string(data))
	})
}

// write writes a file below the cluster's directory. The server may change it.
func (c *Cluster) write(name, text string) error {
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return c.giveAway(path)
}
