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

// stopTime is how long an idle worker may take to stop.
const stopTime = 20 * time.Second

var errStop = errors.New("the worker did not stop")

// An order tells a child what to run.
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
	Pool       int    // of connections, for libraries that take a pool
	Redis      string
}

// A result is a child's answer.
type result struct {
	Seconds float64
	Jobs    int
	// Lost jobs never ran, or are not done in the store. In push, they are not
	// in the store.
	Lost int
	// Repeated jobs ran more than once. In push, they are in the store twice.
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
