package child

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
)

// pushers is how many goroutines push at once, so that their pushes share
// transactions.
const pushers = 4

// push pushes batches of one to ten tasks and says which were acknowledged.
// Every other batch has keys, which are kept for a day: those it notes before
// it pushes them, and what its predecessor had noted it pushes again, answered
// or not. Without a key that would make another job.
func (c *child) push(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go c.obey(stop)
	q, j, err := c.queue()
	if err != nil {
		return err
	}
	if c.original, err = os.Stat(c.Path); err != nil {
		return err
	}
	c.say(Reply{Ready: true})
	if err := c.repeat(ctx, q, j); err != nil {
		return err
	}
	next := atomic.Int64{}
	next.Store(c.First)
	var all sync.WaitGroup
	for i := range pushers {
		random := rand.New(rand.NewPCG(c.Seed, uint64(i))) //nolint:gosec // it is to be repeatable
		all.Go(func() {
			for ctx.Err() == nil {
				tasks := batchOf(&next, random)
				if random.IntN(2) == 0 {
					keyed(tasks)
					j.one(NotePushes, fmt.Sprintf("%d %d", tasks[0].N, len(tasks)))
				}
				c.pushBatch(ctx, q, j, tasks)
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

// keyed gives each task a key of its own.
func keyed(tasks []Task) {
	for i := range tasks {
		tasks[i].Key, tasks[i].Lock = fmt.Sprint("task ", tasks[i].N), LockDay
	}
}

// repeats is how many batches of its predecessor a pusher pushes again, the
// last ones.
const repeats = 20

// repeat pushes the last keyed batches of the predecessor again. A note that
// was cut by its death is of a push that was not begun.
func (c *child) repeat(ctx context.Context, q *plainjobs.Queue, j *journal) error {
	if c.Repeat == "" {
		return nil
	}
	text, err := os.ReadFile(c.Repeat)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var batches [][]Task
	for line := range strings.Lines(string(text)) {
		var kind string
		var at, first, n int64
		if _, err := fmt.Sscanf(line, "%s %d %d %d\n", &kind, &at, &first, &n); err != nil || kind != string(rune(NotePushes)) {
			continue
		}
		tasks := make([]Task, n)
		for i := range tasks {
			tasks[i] = Task{N: first + int64(i), Batch: first, Size: int(n)}
		}
		keyed(tasks)
		batches = append(batches, tasks)
	}
	for _, tasks := range batches[max(0, len(batches)-repeats):] {
		// If this process dies now, its successor repeats it once more.
		j.one(NotePushes, fmt.Sprintf("%d %d", tasks[0].N, len(tasks)))
	}
	for _, tasks := range batches[max(0, len(batches)-repeats):] {
		c.pushBatch(ctx, q, j, tasks)
		j.one(NoteRepeated, fmt.Sprintf("%d %d", tasks[0].N, len(tasks)))
	}
	return nil
}

func (c *child) pushBatch(ctx context.Context, q *plainjobs.Queue, j *journal, tasks []Task) {
	performed := make([]plainjobs.Task, len(tasks))
	r := Reply{}
	for i, t := range tasks {
		performed[i] = t.performed()
		r.Numbers = append(r.Numbers, t.N)
	}
	r.Adrift = !c.inPlace()
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

// inPlace reports whether the database is the file that it was.
func (c *child) inPlace() bool {
	now, err := os.Stat(c.Path)
	return err == nil && os.SameFile(c.original, now)
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
