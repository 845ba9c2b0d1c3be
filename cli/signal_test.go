package cli

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/dashboard"
)

// childVariable turns the test binary into a program that runs one job. The job ends once
// the file that the variable names exists.
const childVariable = "CLI_TEST_CHILD"

func child() {
	path := os.Getenv(childVariable)
	Main(App{Dashboard: dashboard.Handler, Open: func(ctx context.Context) (*plainjobs.Queue, error) {
		q := plainjobs.New(memory.New(nil), nil)
		plainjobs.Handle(q, importJob, func(ctx context.Context, _ string) error {
			slog.Info("running")
			for stopping := false; !stopping; {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				_, err := os.Stat(path)
				stopping = err == nil
				time.Sleep(time.Millisecond) // polling
			}
			slog.Info("continuing") // the log may have lost its reader
			return os.WriteFile(path+".done", nil, 0o600)
		})
		_, err := q.Perform(ctx, importJob.With(""))
		return q, err
	}})
}
