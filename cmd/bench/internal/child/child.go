// Package child is what the programs have in common that measure one driver
// each. Two of the drivers cannot be linked into one program, so every driver
// has its own, and cmd/bench starts it anew for each run.
//
// A scenario is one small file here: it declares itself and lists itself in
// [Scenarios].
package child

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/plainjobs/plainjobs/backend"
)

// A Driver is what a child measures.
type Driver struct {
	// Open opens a store in the file at path.
	Open func(path string) (backend.Backend, error)
	// SQL is the driver's name in database/sql, empty if the store is not
	// on it.
	SQL string
}

// An Order is what the parent asks of a child, for one run.
type Order struct {
	Scenario string
	Path     string // of a database file that does not exist yet
	Workers  int
	Jobs     int
}

// A Result is a child's answer.
type Result struct {
	Seconds float64
	Jobs    int
	// Lost jobs never ran, or are not done in the store.
	Lost int
	// Repeated jobs ran more than once.
	Repeated int
	// Durability of a push that was acknowledged.
	Durability string
}

// Main is the main function of a child: it reads an order from its input and
// writes the result to its output.
func Main(d Driver) {
	if err := serve(d, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(d Driver, in io.Reader, out io.Writer) error {
	var o Order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	s := Lookup(o.Scenario)
	if s == nil {
		return fmt.Errorf("unknown scenario %q", o.Scenario)
	}
	// The parent holds the pipe open for as long as it wants the result.
	// When it is gone, however it ended, nobody does.
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	r, err := s.run(context.Background(), d, o)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Scenario, err)
	}
	return json.NewEncoder(out).Encode(r)
}
