package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

// names is drain with several names and priorities, which alternate.
var names = &Scenario{
	Name:    "names",
	About:   "drain of 1 to 1,000 names and 1 or 1,000 priorities, pushed in bulk and one by one",
	Jobs:    jobs(20_000),
	Workers: []int{2},
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		var cases []namesCase
		for _, names := range []int{1, 10, 100, 1000} {
			for _, priorities := range []int{1, 1000} {
				for _, singly := range []bool{false, true} {
					cases = append(cases, namesCase{names: names, priorities: priorities, singly: singly})
				}
			}
		}
		return runNames(ctx, d, o, cases)
	},
}

// limited is names with MaxRunning, next to the same without.
var limited = &Scenario{
	Name:    "limited",
	About:   "drain of 10 to 5,000 names, without limits and with MaxRunning(1)",
	Jobs:    jobs(20_000),
	Workers: []int{4},
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		var cases []namesCase
		for _, names := range []int{10, 50, 500, 5000} {
			cases = append(cases, namesCase{names: names, priorities: 1}, namesCase{names: names, priorities: 1, running: 1})
		}
		return runNames(ctx, d, o, cases)
	},
}

// parts is how many drains with their own names have begun: a program defines a name
// only once.
var parts atomic.Int64

// A namesCase is how the jobs of a drain differ.
type namesCase struct {
	names, priorities int
	singly            bool // they are pushed one by one
	running           int  // MaxRunning, or 0
}

func (c namesCase) String() string {
	text := fmt.Sprintf("%d names", c.names)
	if c.priorities > 1 {
		text += fmt.Sprintf(", %d priorities", c.priorities)
	}
	if c.singly {
		text += ", pushed singly"
	}
	if c.running > 0 {
		text += fmt.Sprintf(", MaxRunning(%d)", c.running)
	}
	return text
}

// runNames drains the jobs of each case in a store of its own.
func runNames(ctx context.Context, d Driver, o Order, cases []namesCase) (results []Result, err error) {
	for i, c := range cases {
		o := o
		if d.Kind == SQLite {
			o.Path = filepath.Join(filepath.Dir(o.Path), fmt.Sprintf("names%d.db", i))
		}
		r, err := c.drain(ctx, d, o)
		if d.Kind.OnServer() {
			err = errors.Join(err, dropSchema(ctx, d, o))
		}
		if err != nil {
			return nil, fmt.Errorf("%v: %w", c, err)
		}
		results = append(results, r)
	}
	return results, nil
}

func dropSchema(ctx context.Context, d Driver, o Order) (err error) {
	db, err := sql.Open(d.SQL, o.DSN)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	drop := fmt.Sprintf(`DROP SCHEMA IF EXISTS "%s" CASCADE`, o.Schema)
	if d.Kind == MariaDB {
		drop = "DROP DATABASE IF EXISTS " + o.Schema
	}
	_, err = db.ExecContext(ctx, drop)
	return err
}

func (c namesCase) drain(ctx context.Context, d Driver, o Order) (_ Result, err error) {
	store, err := d.Open(o)
	if err != nil {
		return Result{}, err
	}
	queue := plainjobs.New(store, nil)
	defer func() { err = errors.Join(err, queue.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	counts := newTally(o.Jobs, stop)
	part := parts.Add(1)
	all := make([]*plainjobs.Job[int], c.names)
	handled := make([]plainjobs.AnyJob, c.names)
	for i := range all {
		var opts []plainjobs.DefineOption
		if c.running > 0 {
			opts = append(opts, plainjobs.MaxRunning(c.running))
		}
		all[i] = plainjobs.Declare[int](fmt.Sprintf("bench/%d/%d", part, i), opts...)
		handled[i] = all[i]
		plainjobs.Handle(queue, all[i], counts.handle)
	}
	if err := c.fill(ctx, queue, all, o.Jobs); err != nil {
		return Result{}, err
	}
	go counts.watch(ctx, stop)
	w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: handled})
	m, err := begin(o)
	if err != nil {
		return Result{}, err
	}
	if err := w.Run(ctx); err != nil {
		return Result{}, err
	}
	r, err := counts.end(m, store)
	r.Case = c.String()
	return r, err
}

// fill stores jobs 0 to n-1.
func (c namesCase) fill(ctx context.Context, queue *plainjobs.Queue, all []*plainjobs.Job[int], n int) error {
	size := batch
	if c.singly {
		size = 1
	}
	tasks := make([]plainjobs.Task, 0, size)
	for i := range n {
		var opts []plainjobs.TaskOption
		if c.priorities > 1 {
			opts = append(opts, plainjobs.Priority(int16(i*7919%c.priorities)))
		}
		tasks = append(tasks, all[i%c.names].With(i, opts...))
		if len(tasks) == size || i == n-1 {
			if _, err := queue.PerformMany(ctx, tasks...); err != nil {
				return err
			}
			tasks = tasks[:0]
		}
	}
	return nil
}
