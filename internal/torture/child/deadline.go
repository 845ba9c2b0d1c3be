package child

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// deadlineCallers is how many goroutines call at once, so that calls are
// grouped and wait. deadlineMost bounds the time after which a context ends.
const (
	deadlineCallers = 4
	deadlineMost    = 6 * time.Millisecond
	deadlineJobs    = 3 // in each push
)

// deadlines makes n calls whose contexts end at random moments, several at a
// time.
func (s *server) deadlines(ctx context.Context, n int) (sum Sweep, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(s.Path), "deadline-")
	if err != nil {
		return sum, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "jobs.db")
	c := &canceller{}
	drv, err := s.withHook(c)
	if err != nil {
		return sum, err
	}
	store, err := sqlite.Open(drv, path, nil)
	if err != nil {
		return sum, err
	}
	app := sql.OpenDB(drv.Connector("file:" + path + "?_txlock=immediate&_busy_timeout=60000&_pragma=busy_timeout(60000)"))
	defer app.Close()
	h := &deadlineRun{store: store, app: app, outcome: map[int]error{}}
	var all sync.WaitGroup
	for i := range deadlineCallers {
		random := rand.New(rand.NewPCG(s.Seed, uint64(i))) //nolint:gosec // it is to be repeatable
		all.Go(func() {
			for call := i; call < n; call += deadlineCallers {
				h.push(call, random)
			}
		})
	}
	all.Wait()
	if err := h.judge(ctx, c); err != nil {
		return h.Sweep, err
	}
	return h.Sweep, store.Close()
}

// A deadlineRun is calls whose contexts end soon, and their results.
type deadlineRun struct {
	store *sqlite.Backend
	app   *sql.DB

	mu      sync.Mutex
	outcome map[int]error // by call
	Sweep
}

// push makes one call, every fourth in a transaction of the application.
func (h *deadlineRun) push(call int, random *rand.Rand) {
	payload, err := json.Marshal(call)
	if err != nil {
		panic(err) // a number can be encoded
	}
	jobs := make([]backend.NewJob, deadlineJobs)
	for i := range jobs {
		jobs[i] = backend.NewJob{Name: "deadline", Payload: payload, MaxAttempts: 1}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.Int64N(int64(deadlineMost))))
	if random.IntN(2) == 0 {
		ctx, cancel = context.WithCancel(context.Background())
		time.AfterFunc(time.Duration(random.Int64N(int64(deadlineMost))), cancel)
	}
	defer cancel()
	var committed error
	if random.IntN(4) == 0 {
		var tx *sql.Tx
		if tx, err = h.app.BeginTx(context.Background(), nil); err == nil {
			_, err = h.store.PushTx(ctx, tx, jobs)
			committed = tx.Commit()
		}
	} else {
		_, err = h.store.Push(ctx, jobs)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Runs++
	h.outcome[call] = err
	if err == nil {
		h.Nils++
	} else {
		h.Errors++
		if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			h.wrong(&h.WrongError, "call %d: %v, want %v", call, err, ctx.Err())
		}
	}
	if committed != nil {
		h.wrong(&h.Broken, "call %d: the application's commit: %v", call, committed)
	}
}

// judge compares the results of the calls with the stored jobs.
func (h *deadlineRun) judge(ctx context.Context, c *canceller) error {
	there := map[int]int{}
	for before := int64(0); ; {
		page, err := h.store.List(ctx, backend.ListRequest{Before: before, Limit: 1000, Payloads: true})
		if err != nil {
			return err
		}
		for i := range page.Jobs {
			var call int
			if err := json.Unmarshal(page.Jobs[i].Payload, &call); err != nil {
				return fmt.Errorf("payload %q: %w", page.Jobs[i].Payload, err)
			}
			there[call]++
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	for call, err := range h.outcome {
		switch n := there[call]; {
		case err == nil && n != deadlineJobs:
			h.wrong(&h.Missing, "call %d: nil, and %d of %d jobs are there", call, n, deadlineJobs)
		case err != nil && n != 0:
			h.wrong(&h.Partial, "call %d: %v, and %d of %d jobs are there", call, err, n, deadlineJobs)
		}
	}
	if n := c.open(); n != 0 {
		h.wrong(&h.Broken, "%d results are open", n)
	}
	if n := h.app.Stats().InUse; n != 0 {
		h.wrong(&h.Broken, "%d of the application's connections are in use", n)
	}
	return nil
}
