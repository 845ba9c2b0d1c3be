package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs"
)

// A table has the files and their sums, in the database of the queue. Its primary key
// ensures one sum per file.
type table struct{ db *sql.DB }

const createTable = `
	CREATE TABLE IF NOT EXISTS checksums (
		path BLOB PRIMARY KEY,
		job  INTEGER NOT NULL,
		sum  BLOB CHECK (length(sum) = 32)
	) STRICT, WITHOUT ROWID`

func newTable(ctx context.Context, db *sql.DB) (*table, error) {
	_, err := db.ExecContext(ctx, createTable)
	return &table{db}, err
}

const (
	selectFile = `SELECT job, sum IS NOT NULL FROM checksums WHERE path = ?`
	upsertFile = `INSERT INTO checksums (path, job) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET job = excluded.job`
)

// add adds files that are not in the table, each with a job. One transaction commits row
// and job, so that killing the program never loses a job or stores a second one. A file
// whose job has failed gets a new job.
func (t *table) add(ctx context.Context, queue *plainjobs.Queue, files []file, failed map[int64]bool) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit

	var fresh []file
	var tasks []plainjobs.Task
	for _, f := range files {
		var job int64
		var summed bool
		err := tx.QueryRowContext(ctx, selectFile, f.Path).Scan(&job, &summed)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err != nil || failed[job] && !summed {
			fresh = append(fresh, f)
			tasks = append(tasks, sumFile.With(f))
		}
	}
	jobs, err := queue.WithTx(tx).PerformMany(ctx, tasks...)
	if err != nil {
		return err
	}
	for i, f := range fresh {
		if _, err := tx.ExecContext(ctx, upsertFile, f.Path, jobs[i]); err != nil {
			return err
		}
	}
	return tx.Commit()
}

const updateSum = `UPDATE checksums SET sum = ? WHERE path = ?`

// store stores the sum of a file.
func (t *table) store(ctx context.Context, path, sum []byte) error {
	_, err := t.db.ExecContext(ctx, updateSum, sum, path)
	return err
}

const (
	selectTotals = `SELECT count(*), count(sum) FROM checksums WHERE path >= ?1 AND path < ?2`
	selectRows   = `SELECT path, job, sum FROM checksums WHERE path >= ?1 AND path < ?2 AND (sum IS NULL) = ?3 ORDER BY path`
)

// totals returns the number of files below a directory, and how many have a sum.
func (t *table) totals(ctx context.Context, root string) (files, summed int64, err error) {
	from, to := below(root)
	err = t.db.QueryRowContext(ctx, selectTotals, from, to).Scan(&files, &summed)
	return files, summed, err
}

// below returns the bounds of the paths below a directory. Paths with a common prefix
// are adjacent in byte order.
func below(root string) (from, to []byte) {
	from = []byte(strings.TrimSuffix(root, separator) + separator)
	to = slices.Clone(from)
	to[len(to)-1]++
	return from, to
}

const separator = string(os.PathSeparator)

// A row is a file with its job and, once there is one, its sum.
type row struct {
	path []byte
	job  int64
	sum  []byte
}

// each calls f for the files below a directory that have a sum, or that have none, in
// the order of their paths.
func (t *table) each(ctx context.Context, root string, summed bool, f func(row) error) error {
	from, to := below(root)
	rows, err := t.db.QueryContext(ctx, selectRows, from, to, !summed)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.path, &r.job, &r.sum); err != nil {
			return err
		}
		if err := f(r); err != nil {
			return err
		}
	}
	return rows.Err()
}
