// Package child is what the programs have in common that measure one driver
// each. Two of the drivers cannot be linked into one program, so every driver
// has its own, and cmd/bench starts a new process for each run.
//
// A scenario is one small file here: it declares itself and lists itself in
// [Scenarios].
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
	// SQL is the driver's name in database/sql, empty if the store is not
	// on it.
	SQL string
	// Copy copies rows into a table by COPY; nil where there is none.
	Copy func(ctx context.Context, conn *sql.Conn, table string, columns []string, rows [][]any) error
}

// An Order is what the parent asks of a child, for one run.
type Order struct {
	Scenario  string
	Path      string // of a database file that does not exist yet
	DSN       string `json:",omitempty"` // of a server, and
	Schema    string `json:",omitempty"` // a schema that it does not have yet
	Workers   int    // handlers at once in a process, or pushing goroutines
	Processes int
	Jobs      int
	Share     int  `json:",omitempty"` // percent of the time, see sqlite.Options
	Brief     bool // what takes its time takes little
	Long      bool // what has a long form takes it

	// CPUProfile is a file for a profile of what is timed; empty is none.
	CPUProfile string `json:",omitempty"`
	// Role is what a process does that a child has started, see helper.
	Role string `json:",omitempty"`
}

// A Result is what a child answers, one for each case of its scenario.
type Result struct {
	// Case tells apart what one run measures one after another.
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

// Measures are what not every scenario or system has; nil is none.
type Measures struct {
	// Latency of what the scenario says.
	Latency *Latency `json:",omitempty"`
	// Allocs are heap objects per job, in all of the process.
	Allocs *float64 `json:",omitempty"`
	// Bytes are those given to write calls, per job. What goes to a server is
	// not what that writes, so there they are none.
	Bytes *float64 `json:",omitempty"`
	// CPU is the time that a waiting process used, in percent of one core.
	CPU *float64 `json:",omitempty"`
	// Wakeups are how often a waiting process was scheduled, per minute.
	Wakeups *float64 `json:",omitempty"`
	// Commits are transactions of a waiting worker, per minute.
	Commits *float64 `json:",omitempty"`
	// Cost is how much slower a queue is that leaves time to others, in
	// percent.
	Cost *float64 `json:",omitempty"`
	// Peak is the most memory that a worker's process had resident, in MiB.
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
	if d.Kind == Postgres {
		for i := range results {
			results[i].Bytes = nil
		}
	}
	return json.NewEncoder(out).Encode(Answer{Results: results, SQLite: sqliteVersion(d)})
}

// An Answer is what a child writes.
type Answer struct {
	Results []Result
	SQLite  string // version; empty for a store that is none
}
