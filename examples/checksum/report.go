package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// report prints the failed files and the summary. It returns the number of failed files.
func report(ctx context.Context, sums *table, store backend.Reader, root string, summer *summer, stdout, stderr io.Writer) (failed int64, err error) {
	err = sums.each(ctx, root, false, func(r row) error {
		why, err := failure(ctx, store, r.job)
		fmt.Fprintf(stderr, "checksum: %q: %s\n", r.path, why)
		return err
	})
	if err != nil {
		return 0, err
	}
	files, done, err := sums.totals(ctx, root)
	if err != nil {
		return 0, err
	}
	ran, took := summer.ran.Load(), time.Duration(summer.last.Load())
	rate := 0.0
	if ran > 0 {
		rate = float64(ran) / took.Seconds()
	}
	_, err = fmt.Fprintf(stdout, "this process ran %d jobs in %v\nfiles=%d done=%d failed=%d jobs_per_s=%.0f\n",
		ran, took.Round(time.Millisecond), files, done, files-done, rate)
	return files - done, err
}

// failure returns the last error of a job.
func failure(ctx context.Context, store backend.Reader, job int64) (string, error) {
	info, err := store.Get(ctx, job)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return "its job failed, and its error has been deleted since", nil
	case err != nil:
		return "", err
	case len(info.Errors) == 0:
		return fmt.Sprintf("its job is %v", info.State), nil
	}
	return info.Errors[len(info.Errors)-1].Error, nil
}
