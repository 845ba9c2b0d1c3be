// Package harness is what the commands bench and peers share: flags, progress,
// the description of the machine, child processes, schemas on a PostgreSQL
// server, and counts and percentiles of what was measured.
package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Main calls a command's run with a context that ends on an interrupt, and exits
// with the status that it returns.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// BadArguments prints the usage if it was asked for, or the error of the
// arguments of the command at path, and returns the exit status.
func BadArguments(err error, path, name string, usage func(io.Writer), stdout, stderr io.Writer) int {
	if errors.Is(err, flag.ErrHelp) {
		usage(stdout)
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n(go run %s -h lists the flags)\n", name, err, path)
	return 2
}

// Plural returns the count of a noun.
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Median returns the middle of the values, or the mean of the two middle ones.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
