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

// hasty is how many goroutines make calls at once, so that there are groups
// and waiting, and patient bounds the time after which a context ends.
const (
	hasty   = 4
	patient = 6 * time.Millisecond
	hasted  = 3 // jobs of a push
)

// haste makes n calls whose contexts end at random moments, while others go on
// at the same time.
func (s *server) haste(ctx context.Context, n int) (sum Sweep, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(s.Path), "haste-")
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
	h := &hasting{store: store, app: app, outcome: map[int]error{}}
	var all sync.WaitGroup
	for i := range hasty {
		random := rand.New(rand.NewPCG(s.Seed, uint64(i))) //nolint:gosec // it is to be repeatable
		all.Go(func() {
			for call := i; call < n; call += hasty {
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

// A hasting is calls whose contexts end soon, and what came of them.
type hasting struct {
	store *sqlite.Backend
	app   *sql.DB

	mu      sync.Mutex
	outcome map[int]error // by call
	Sweep
}

// push makes one call, every fourth in a transaction of the application.
func (h *hasting) push(call int, random *rand.Rand) {
	payload, err := json.Marshal(call)
	if err != nil {
		panic(err) // a number encodes
	}
	jobs := make([]backend.NewJob, hasted)
	for i := range jobs {
		jobs[i] = backend.NewJob{Name: "haste", Payload: payload, MaxAttempts: 1}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.Int64N(int64(patient))))
	if random.IntN(2) == 0 {
		ctx, cancel = context.WithCancel(context.Background())
		time.AfterFunc(time.Duration(random.Int64N(int64(patient))), cancel)
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
			h.wrong(&h.Unkind, "call %d: %v, want %v", call, err, ctx.Err())
		}
	}
	if committed != nil {
		h.wrong(&h.Broken, "call %d: the application's commit: %v", call, committed)
	}
}

// judge compares what was said with what is there.
func (h *hasting) judge(ctx context.Context, c *canceller) error {
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
		case err == nil && n != hasted:
			h.wrong(&h.Missing, "call %d: nil, and %d of %d jobs are there", call, n, hasted)
		case err != nil && n != 0:
			h.wrong(&h.Partial, "call %d: %v, and %d of %d jobs are there", call, err, n, hasted)
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
