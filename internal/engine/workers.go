package engine

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
)

// Workers returns the workers of a store with what this host knows of their processes. A
// worker whose process has ended is not alive.
func Workers(ctx context.Context, reader backend.Reader) ([]backend.WorkerInfo, error) {
	workers, err := reader.Workers(ctx)
	for i := range workers {
		w := &workers[i]
		if !w.Ended && !w.Present && w.Process != "" {
			w.Ended, w.Present = lookAt(w.Process)
		}
		w.Alive = w.Alive && !w.Ended
	}
	return workers, err
}
