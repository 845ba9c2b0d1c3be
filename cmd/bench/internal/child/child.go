// Package child is the common part of the programs that measure one driver
// each. Two of the drivers cannot be linked into one program, so every driver
// has its own program. cmd/bench starts a new process for each run.
//
// Each scenario is one small file, and is listed in [Scenarios].
package child

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A Driver is what a child measures.
type Driver struct {
	Kind Kind
	// Open opens the store where the order says.
	Open func(Order) (backend.Backend, error)
	// SQL is the driver's name in database/sql. It is empty if the store does
	// not use database/sql.
	SQL string
	// Copy inserts rows by COPY. It is nil for a store without COPY.
	Copy func(ctx context.Context, conn *sql.Conn, table string, columns []string, rows [][]any) error
}

// An Order tells a child what to run.
type Order struct {
	Scenario  string
	Path      string // of a database file that does not exist yet
	DSN       string `json:",omitempty"` // of a server
	Schema    string `json:",omitempty"` // a schema that does not exist yet
	Workers   int    // handlers at once in a process, or pushing goroutines
	Processes int
	Jobs      int
	Share     int  `json:",omitempty"` // percent of the time, see sqlite.Options
	Brief     bool // slow scenarios take their brief form
	Long      bool // scenarios take their long form, if they have one

	// CPUProfile is a file for a profile of the timed part. Empty is none.
	CPUProfile string `json:",omitempty"`
	// Role is the role of a process that a child started, see helper.
	Role string `json:",omitempty"`
}

// A Result is the result of one case of a scenario.
type Result struct {
	// Case names the case, if the scenario has several.
	Case    string `json:",omitempty"`
	Seconds float64
	Jobs    int
	// Lost jobs never ran, or are not done in the store.
	Lost int
	// Repeated jobs ran more than once.
	Repeated int
	// Durability of a push that was acknowledged.
	Durability string

	Measures
}

// Measures are figures that not every scenario or system has. Nil is none.
type Measures struct {
	// Latency is what [Scenario.Latency] says.
	Latency *Latency `json:",omitempty"`
	// Allocs are heap objects per job, of the whole process.
	Allocs *float64 `json:",omitempty"`
	// Bytes are the bytes given to write calls, per job. There are none for a
	// server, which writes in another process.
	Bytes *float64 `json:",omitempty"`
	// CPU is the time that an idle process used, in percent of one core.
	CPU *float64 `json:",omitempty"`
	// Wakeups are how often an idle process was scheduled, per minute.
	Wakeups *float64 `json:",omitempty"`
	// Commits are transactions of an idle worker, per minute.
	Commits *float64 `json:",omitempty"`
	// Cost is how much slower a queue is that leaves time to an application, in
	// percent.
	Cost *float64 `json:",omitempty"`
	// Peak is the largest resident memory of a worker's process, in MiB.
	Peak *float64 `json:",omitempty"`
}

// Main is the main function of a child: it reads an order from its input and
// writes the results to its output.
func Main(d Driver) {
	if err := serve(d, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(d Driver, in io.Reader, out io.Writer) error {
	var o Order
	orders := json.NewDecoder(in)
	if err := orders.Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if o.Role != "" {
		if err := assist(d, o, orders, json.NewEncoder(out)); err != nil {
			return fmt.Errorf("%s: %s: %w", o.Scenario, o.Role, err)
		}
		return nil
	}
	s := Lookup(o.Scenario)
	if s == nil {
		return fmt.Errorf("unknown scenario %q", o.Scenario)
	}
	harness.EndWithParent(in)
	results, err := s.run(context.Background(), d, o)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Scenario, err)
	}
	if d.Kind.OnServer() {
		for i := range results {
			results[i].Bytes = nil
		}
	}
	return json.NewEncoder(out).Encode(Answer{Results: results, SQLite: sqliteVersion(d)})
}

// An Answer is the output of a child.
type Answer struct {
	Results []Result
	SQLite  string // version; empty for other stores
}
