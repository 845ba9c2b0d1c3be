// Checksum computes the SHA-256 sum of every regular file in a directory tree, with one
// job per file, in a queue in a SQLite file:
//
//	go run ./examples/checksum [flags] DIR
//
// With -db the program keeps the file: killed at any moment and started again with the
// same -db, it continues. Several copies on one -db share the work. The program does not
// read a file again that has a sum, and retries failed files at the next start. With
// -out it writes the sums in the format of "sha256sum -c".
//
// What it shows, and where:
//
//   - job.go: a job whose handler has dependencies (Declare and Handle), may run twice
//     without harm, and stops early when the worker stops
//   - table.go: rows of the application and their jobs, committed in one transaction
//     (Queue.WithTx)
//   - work.go: a worker that runs until the queue is empty
//   - driver.go: one *sql.DB for the application's tables and the queue
//
// The exit status is 0 on success, 1 if files failed, 2 after any other error, and 130
// after an interrupt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the exit status.
func run(ctx context.Context, args []string) int {
	cfg, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	stderr := newProgress(os.Stderr)
	log.SetOutput(stderr) // slog's default and the library log there too

	ok, err := checksum(ctx, cfg, os.Stdout, stderr)
	stderr.clear()
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(stderr, "checksum: interrupted")
		return 130
	case err != nil:
		fmt.Fprintf(stderr, "checksum: %v\n", err)
		return 2
	case !ok:
		return 1
	}
	return 0
}
