package child

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
)

// pushers is how many goroutines push at once, so that their pushes share
// transactions.
const pushers = 4

// push pushes batches of one to ten tasks and says which were acknowledged. A
// push is never repeated here: without a key that would make another job.
func (c *child) push(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go c.obey(stop)
	j, err := openJournal(c.Ledger)
	if err != nil {
		return err
	}
	b, err := c.Open(c.Path, c.options())
	if err != nil {
		return err
	}
	q := plainjobs.New(b, nil)
	c.say(Reply{Ready: true})
	next := atomic.Int64{}
	next.Store(c.First)
	var all sync.WaitGroup
	for i := range pushers {
		random := rand.New(rand.NewPCG(c.Seed, uint64(i))) //nolint:gosec // it is to be repeatable
		all.Go(func() {
			for ctx.Err() == nil {
				c.pushBatch(ctx, q, j, batchOf(&next, random))
				if c.Pause > 0 {
					wait(ctx, c.Pause)
				}
			}
		})
	}
	all.Wait()
	return q.Close()
}

// batchOf returns the next tasks, which say that they belong together.
func batchOf(next *atomic.Int64, random *rand.Rand) []Task {
	n := 1 + random.Int64N(10)
	last := next.Add(n)
	tasks := make([]Task, n)
	for i := range tasks {
		tasks[i] = Task{
			N: last - n + int64(i), Batch: last - n, Size: int(n),
			Priority: int16(random.IntN(3)), Pad: make([]byte, random.IntN(300)), //nolint:gosec // small
		}
	}
	return tasks
}

func (c *child) pushBatch(ctx context.Context, q *plainjobs.Queue, j *journal, tasks []Task) {
	performed := make([]plainjobs.Task, len(tasks))
	r := Reply{}
	for i, t := range tasks {
		performed[i] = t.performed()
		r.Numbers = append(r.Numbers, t.N)
	}
	ids, err := q.PerformMany(ctx, performed...)
	if err != nil {
		if ctx.Err() == nil {
			j.one(NoteError, fmt.Sprintf("%s 0 push %v", Kind(err), err))
		}
		return
	}
	r.IDs = ids
	if info, err := os.Stat(c.Path + "-wal"); err == nil {
		r.WAL = info.Size()
	}
	c.say(r)
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
