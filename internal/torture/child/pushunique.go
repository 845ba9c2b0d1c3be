package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
)

// Keys is the number of unique keys.
const Keys = 100

// pushUnique pushes one task after the other with one of a few unique keys, and
// reports which job has the key: its own, or an earlier one. It reads that job,
// which must be committed.
func (c *child) pushUnique(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go c.obey(stop)
	q, j, err := c.queue()
	if err != nil {
		return err
	}
	c.say(Reply{Ready: true})
	var all sync.WaitGroup
	for i := range pushers {
		random := rand.New(rand.NewPCG(c.Seed, uint64(i))) //nolint:gosec // it is to be repeatable
		all.Go(func() {
			for ctx.Err() == nil {
				c.contend(ctx, q, j, uniqueTask(random))
				wait(ctx, c.Pause)
			}
		})
	}
	all.Wait()
	return q.Close()
}

// uniqueTask returns a task whose number is that of its key. Half of the keys
// are held until the job has ended, the others until it starts: a rescued job
// of those waits again, and may find its key taken.
func uniqueTask(random *rand.Rand) Task {
	n := random.Int64N(Keys)
	t := Task{N: n, Takes: time.Duration(random.IntN(10)) * time.Millisecond, Priority: int16(random.IntN(3))} //nolint:gosec // small
	if n%4 < 2 {
		t.Key, t.Lock = fmt.Sprint("run ", n), LockRun
		if random.IntN(3) == 0 {
			t.Lock = LockRunReject
		}
		if random.IntN(10) == 0 {
			t.Fails = 1
		}
		return t
	}
	t.Key, t.Lock = fmt.Sprint("wait ", n), LockWait
	if random.IntN(3) == 0 {
		t.Lock = LockWaitReplace
	}
	return t
}

func (c *child) contend(ctx context.Context, q *plainjobs.Queue, j *journal, t Task) {
	id, err := q.Perform(ctx, t.task())
	if errors.Is(err, plainjobs.ErrDuplicate) && (t.Lock == LockRunReject || t.Lock == LockWaitReplace) {
		err = nil
	}
	if err == nil {
		c.say(Reply{IDs: []int64{id}, Numbers: []int64{t.N}})
		_, err = q.Get(ctx, id)
	}
	if err != nil && ctx.Err() == nil {
		j.one(NoteError, fmt.Sprintf("%s 0 push of key %q as job %d: %v", Kind(err), t.Key, id, err))
	}
}

// duplicates finds jobs with the same unique key.
const duplicates = `
SELECT name || ' ' || unique_key || ': ' || group_concat(id || ' in state ' || state)
FROM (SELECT j.id, j.name, j.unique_key, ` + stateOf + ` AS state FROM plainjobs_job j WHERE j.unique_key IS NOT NULL AND j.state < 5)
WHERE (state < 4 OR state = 4 AND unique_key LIKE 'run %')
GROUP BY name, unique_key
HAVING count(*) > 1`

// duplicateKeys looks for such jobs for a while.
func duplicateKeys(ctx context.Context, conn *sql.Conn, d time.Duration) (n int64, found string, err error) {
	for end := time.Now().Add(d); ; {
		err := conn.QueryRowContext(ctx, duplicates).Scan(&found)
		if n++; !errors.Is(err, sql.ErrNoRows) {
			return n, found, err
		}
		if time.Now().After(end) {
			return n, "", nil
		}
	}
}
