package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/plainjobs/plainjobs"
)

// A part of a file, from an offset and a line on.
type part struct {
	File         string
	Offset, Line int64
}

var (
	splitFile   = plainjobs.Declare[part]("split-file")
	importRow   = plainjobs.Declare[customer]("import-row", plainjobs.Keep(plainjobs.History{Done: -1})) // the group counts them
	writeReport = plainjobs.Declare[string]("write-report")
)

// bind binds the handlers.
func (a *app) bind(q *plainjobs.Queue) {
	plainjobs.Handle(q, splitFile, a.split)
	plainjobs.Handle(q, importRow, a.row)
	plainjobs.Handle(q, writeReport, a.report)
}

// load stores a group for a file, with the job that reads the file and the one that reports.
func (a *app) load(ctx context.Context, file string) (int64, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return 0, err
	}
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	group, err := a.queue.WithTx(tx).Group(ctx, plainjobs.OnEnd(writeReport.With(path)), plainjobs.Label(filepath.Base(path)))
	if err != nil {
		return 0, err
	}
	if _, err := group.Perform(ctx, splitFile.With(part{File: path, Line: 1})); err != nil {
		return 0, err
	}
	if err := group.Seal(ctx); err != nil { // only the members add to it
		return 0, err
	}
	return group.ID(), tx.Commit()
}

// rows is how many rows become jobs in one transaction.
const rows = 1000

// split adds jobs for some rows to its group, and one that continues after them. The
// transaction also completes split, so that each row becomes a job once.
func (a *app) split(ctx context.Context, p part) error {
	group, ok := plainjobs.GroupOf(ctx)
	if !ok {
		return errors.New("split-file must be performed in a group")
	}
	customers, next, err := read(p.File, p.Offset, p.Line, rows)
	if err != nil {
		return err
	}
	var tasks []plainjobs.Task
	for _, c := range customers {
		tasks = append(tasks, importRow.With(c))
	}
	if next != 0 {
		tasks = append(tasks, splitFile.With(part{p.File, next, p.Line + int64(len(customers))}, plainjobs.Priority(1)))
	}
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := group.WithTx(tx).PerformMany(ctx, tasks...); err != nil {
		return err
	}
	if err := plainjobs.Complete(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// row imports a customer.
func (a *app) row(ctx context.Context, c customer) error {
	if c.Name == "" || !strings.Contains(c.Email, "@") {
		return plainjobs.Cancel(fmt.Errorf("line %d: %q has no address", c.Line, c.Name))
	}
	return save(ctx, a.db, c)
}

// report writes a report next to the file.
func (a *app) report(ctx context.Context, file string) error {
	group, ok := plainjobs.GroupOf(ctx)
	if !ok {
		return errors.New("write-report must be a callback of a group")
	}
	info, err := group.Info(ctx)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d jobs done in %v\n", filepath.Base(file), info.Done, info.Total, info.EndedAt.Sub(info.CreatedAt).Round(1e6))
	for before := int64(0); ; {
		refused, next, err := a.queue.List(ctx, plainjobs.Filter{Group: group.ID(), States: []plainjobs.State{plainjobs.Cancelled}}, before, 1000)
		if err != nil {
			return err
		}
		for _, j := range refused {
			whole, err := a.queue.Get(ctx, j.ID)
			if err != nil {
				return err
			}
			fmt.Fprintln(&b, whole.Errors[len(whole.Errors)-1].Error)
		}
		if before = next; before == 0 {
			break
		}
	}
	return os.WriteFile(file+".report.txt", []byte(b.String()), 0o600)
}
