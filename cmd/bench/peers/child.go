package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// childEnv is set in the environment of a child.
const childEnv = "PLAINJOBS_BENCH_PEERS_CHILD"

// stopTime is how long a worker that has nothing to do may take to stop.
const stopTime = 20 * time.Second

var errStop = errors.New("the worker did not stop")

// An order is what the parent asks of a child, for one run.
type order struct {
	Library    string
	Scenario   string
	Durability string
	Goroutines int
	Workers    int
	Jobs       int
	Time       time.Duration // of push and live
	Rate       int
	Path       string // of a database file that does not exist yet
	Postgres   string
	Schema     string // that the database does not have yet
	Pool       int    // of connections, of libraries that are given one
	Redis      string
}

// A result is a child's answer.
type result struct {
	Seconds float64
	Jobs    int
	// Lost jobs never ran, or are not done in the store; in push, they are
	// not in it.
	Lost int
	// Repeated jobs ran more than once; in push, they are in the store twice.
	Repeated int
	// Durability is what a push survives, Work the record that a job is done.
	Durability, Work string
	harness.Latency  // in live
}

// childMain reads an order from the input and writes the result to the output.
func childMain() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	l, err := libraryOf(o.Library)
	if err != nil {
		return err
	}
	harness.EndWithParent(in)
	r, err := measure(context.Background(), l, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}
