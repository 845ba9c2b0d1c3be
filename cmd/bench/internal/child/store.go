package child

import (
	"context"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// job is the job of all scenarios. Its data is its index among the jobs of the
// run, so that each is told from the others whatever ID it gets.
var job = plainjobs.Declare[int]("bench")

// batch is how many jobs one PerformMany takes.
const batch = 1000

// push stores jobs 0 to n-1.
func push(ctx context.Context, q *plainjobs.Queue, n int) error {
	tasks := make([]plainjobs.Task, 0, batch)
	for i := range n {
		tasks = append(tasks, job.With(i))
		if len(tasks) == batch || i == n-1 {
			if _, err := q.PerformMany(ctx, tasks...); err != nil {
				return err
			}
			tasks = tasks[:0]
		}
	}
	return nil
}

// durability returns what a store says of its pushes.
func durability(store backend.Backend) string {
	if d, ok := store.(backend.Describer); ok {
		return d.Describe().Durability.String()
	}
	return backend.None.String()
}
