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

// push pushes batches of one to ten tasks and reports which were acknowledged.
// Every other batch has unique keys that last a day. It notes those batches
// before it pushes them, and first pushes again the ones that its predecessor
// noted, whether they were answered or not. Without a key that would store the
// jobs twice.
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

// batchOf returns the tasks of the next batch.
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

// keyed gives each task its own key.
func keyed(tasks []Task) {
	for i := range tasks {
		tasks[i].Key, tasks[i].Lock = fmt.Sprint("task ", tasks[i].N), LockDay
	}
}

// repeats is how many of the last batches of its predecessor a pusher pushes
// again.
const repeats = 20

// repeat pushes the last keyed batches of the predecessor again. If its death
// cut a note, that push had not begun.
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
		performed[i] = t.task()
		r.Numbers = append(r.Numbers, t.N)
	}
	r.Displaced = !c.inPlace()
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

// inPlace reports whether the path still leads to the file that was opened.
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
