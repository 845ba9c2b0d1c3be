package child

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A Sweep counts the results of cancelling a method at each of its driver
// calls.
type Sweep struct {
	Calls  int // driver calls of the method when it is not cancelled
	Runs   int
	Nils   int // runs that succeeded all the same
	Errors int
	// The rest is what is wrong.
	Missing    int // returned nil, and had no effect
	Partial    int // returned an error, and had part of its effect
	Broken     int // the store or its pools do not work afterwards
	WrongError int // returned an error that is not the context's
	Faults     []string
}

func (s *Sweep) wrong(n *int, format string, args ...any) {
	*n++
	if len(s.Faults) < 10 {
		s.Faults = append(s.Faults, fmt.Sprintf(format, args...))
	}
}

// A canceller is the hook that cancels a context at the k-th call.
type canceller struct {
	mu     sync.Mutex
	cancel context.CancelFunc
	late   bool // the call has been made
	k      int
	calls  int
	rows   int // open results
}

// arm returns a context that ends at the k-th call from now on.
func (c *canceller) arm(k int, late bool) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel, c.k, c.late, c.calls = cancel, k, late, 0
	return ctx
}

// disarm returns how many calls there were.
func (c *canceller) disarm() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
	c.cancel = nil
	return c.calls
}

func (c *canceller) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows
}

func (c *canceller) before(string, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		if c.calls++; c.calls == c.k && !c.late {
			c.cancel()
		}
	}
	return nil
}

func (c *canceller) after(call, _ string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch call {
	case faultdriver.Query:
		c.rows++
	case faultdriver.Close:
		c.rows--
	}
	if c.cancel != nil && c.calls == c.k && c.late {
		c.cancel()
	}
	return nil
}

// A bench is a store in which each method has something to do.
type bench struct {
	*canceller
	store    *sqlite.Backend
	app      *sql.DB // the application's own, with the hook
	raw      *sql.DB // without it
	borrowed bool    // the store borrows app's connection
	s        *scene
}

// A scene is the state in which a bench starts.
type scene struct {
	start  time.Time
	leases []backend.Lease
	failed int64 // a job with an error
	ids    []int64
}

var (
	benchWorker = backend.Worker{ID: 7, Host: "bench", Lease: time.Hour, Schedules: []string{"bench"}}
	benchNames  = []string{"bench/a", "bench/b"}
)

// prepare brings a new store into the state of the scene.
func (s *scene) prepare(b *sqlite.Backend) error {
	ctx := context.Background()
	job := func(name string) backend.NewJob {
		return backend.NewJob{Name: name, Payload: []byte("{}"), MaxAttempts: 3}
	}
	var jobs []backend.NewJob
	for range 7 {
		jobs = append(jobs, job("bench/a"))
	}
	if _, err := b.Push(ctx, jobs); err != nil {
		return err
	}
	claim := func(w backend.Worker, limit int) ([]backend.Job, error) {
		return b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: benchNames, Limit: limit})
	}
	claimed, err := claim(benchWorker, 6)
	if err != nil {
		return err
	}
	for i := range claimed {
		s.leases = append(s.leases, claimed[i].Lease)
	}
	s.failed = s.leases[5].ID
	if _, err := b.Complete(ctx, []backend.Completion{{Lease: s.leases[4], Result: []byte("1")}}); err != nil {
		return err
	}
	if _, err := b.Fail(ctx, []backend.Failure{{Lease: s.leases[5], Ending: backend.EndFailed, Error: "bench"}}); err != nil {
		return err
	}
	if _, err := claim(backend.Worker{ID: 8, Host: "dead", Lease: time.Millisecond}, 1); err != nil {
		return err
	}
	later := job("bench/b")
	later.Delay = time.Minute
	pushed, err := b.Push(ctx, []backend.NewJob{job("bench/a"), job("bench/b"), job("bench/b"), later, job("bench/idle")})
	if err != nil {
		return err
	}
	for _, p := range pushed {
		s.ids = append(s.ids, p.ID)
	}
	return errors.Join(
		b.Set(ctx, []backend.Settings{{Name: "bench/b", MaxRunning: 5, Rate: 100, Per: time.Hour}}),
		b.Pause(ctx, "bench/idle", true),
		b.Define(ctx, []backend.Schedule{{Name: "bench", Definition: "d", Next: s.start}}))
}

// batch returns an export of another store.
func (s *scene) batch() backend.Batch {
	job := func(id int64, key string) backend.Record {
		return backend.Record{Info: backend.Info{
			ID: id, Name: "bench/new", State: backend.Pending, Payload: []byte("{}"), MaxAttempts: 3,
			CreatedAt: s.start, RunAt: s.start, UniqueKey: key, SerialKey: "s",
		}}
	}
	return backend.Batch{
		LastID: 2000, Jobs: []backend.Record{job(1000, ""), job(1001, "k"), job(1002, "l")},
		Schedules: []backend.Schedule{{Name: "bench3", Definition: "d", Next: s.start}},
	}
}

// A method is a call that is cancelled. It returns a result that can be
// compared.
type method struct {
	name string
	call func(context.Context, *bench) (any, error)
	// history of the store; zero is the default.
	history backend.History
	// endless, if it is not zero, means that the method returns only when it is
	// cancelled, in one of so many calls.
	endless int
}

// Methods returns the names of the methods that a sweep can cancel.
func Methods() []string {
	names := make([]string, len(methods))
	for i := range methods {
		names[i] = methods[i].name
	}
	return names
}

var methods = []method{
	{name: "Push", call: func(ctx context.Context, b *bench) (any, error) {
		j := backend.NewJob{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3}
		return b.store.Push(ctx, []backend.NewJob{j, j, j})
	}},
	{name: "PushKeyed", call: func(ctx context.Context, b *bench) (any, error) {
		j := backend.NewJob{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3, Serial: "s", Expires: time.Hour, MaxPending: 100}
		k := j
		k.Unique = backend.Unique{Key: "k", For: time.Hour}
		return b.store.Push(ctx, []backend.NewJob{j, k, j})
	}},
	{name: "PushTx", call: func(ctx context.Context, b *bench) (any, error) {
		return b.within(func(tx *sql.Tx) (any, error) {
			j := backend.NewJob{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3, Serial: "s"}
			return b.store.PushTx(ctx, tx, []backend.NewJob{j, j})
		})
	}},
	{name: "CompleteTx", call: func(ctx context.Context, b *bench) (any, error) {
		return b.within(func(tx *sql.Tx) (any, error) {
			return nil, b.store.CompleteTx(ctx, tx, backend.Completion{Lease: b.s.leases[0], Result: []byte("2")})
		})
	}},
	{name: "Claim", call: func(ctx context.Context, b *bench) (any, error) {
		w := benchWorker
		w.ID = 9
		jobs, err := b.store.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: benchNames, Limit: 3})
		var ids []int64 // tokens are random
		for i := range jobs {
			ids = append(ids, jobs[i].ID)
		}
		return ids, err
	}},
	{name: "Complete", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Complete(ctx, []backend.Completion{{Lease: b.s.leases[0], Result: []byte("2")}, {Lease: b.s.leases[1]}})
	}},
	{name: "Fail", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Fail(ctx, []backend.Failure{
			{Lease: b.s.leases[0], Ending: backend.EndRetry, Delay: time.Minute, Error: "x"},
			{Lease: b.s.leases[1], Ending: backend.EndFailed, Error: "y"},
			{Lease: b.s.leases[2], Ending: backend.EndRelease},
		})
	}},
	{name: "Reap", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Reap(ctx, backend.ReapRequest{Expired: true})
	}},
	// Rescuing and pruning are separate transactions, so one may take effect
	// without the other. Here there is nothing to rescue.
	{name: "ReapPrunes", history: backend.History{Done: time.Microsecond, Failed: time.Microsecond},
		call: func(ctx context.Context, b *bench) (any, error) { return b.store.Reap(ctx, backend.ReapRequest{}) }},
	{name: "Beat", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: benchWorker})
	}},
	{name: "BeatLeave", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: benchWorker, Leave: true})
	}},
	{name: "Get", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Get(ctx, b.s.failed) }},
	{name: "List", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.List(ctx, backend.ListRequest{Payloads: true})
	}},
	{name: "Count", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Count(ctx) }},
	{name: "Workers", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Workers(ctx) }},
	{name: "Set", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.Set(ctx, []backend.Settings{{Name: "bench/a", MaxRunning: 2}, {Name: "bench/c", MaxRunning: 3}})
	}},
	{name: "Pause", call: func(ctx context.Context, b *bench) (any, error) { return nil, b.store.Pause(ctx, "bench/c", true) }},
	{name: "Names", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Names(ctx) }},
	{name: "Operate", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{IDs: b.s.ids}})
	}},
	{name: "OperateRetry", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{b.s.failed, b.s.leases[4].ID}}})
	}},
	{name: "OperateDelete", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{IDs: append(b.s.ids, b.s.failed)}})
	}},
	{name: "Export", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Export(ctx, backend.ExportRequest{Jobs: 100})
	}},
	{name: "Import", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Import(ctx, b.s.batch())
	}},
	{name: "Home", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Environment(ctx) }},
	{name: "Move", call: func(ctx context.Context, b *bench) (any, error) { return b.store.SetEnvironment(ctx, "", "bench") }},
	{name: "Schema", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Schema(ctx) }},
	{name: "Examine", call: func(ctx context.Context, b *bench) (any, error) {
		findings, err := b.store.Examine(ctx, backend.ExamineRequest{})
		var names []string // the values vary, as does the directory
		for _, f := range findings {
			names = append(names, f.Name)
		}
		return names, err
	}},
	{name: "Watch", endless: 5, call: func(ctx context.Context, b *bench) (any, error) { return b.store.WatchDead(ctx, benchWorker.ID) }},
	{name: "Define", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.Define(ctx, []backend.Schedule{
			{Name: "bench", Definition: "e", Next: b.s.start}, {Name: "bench2", Definition: "d", Next: b.s.start},
		})
	}},
	{name: "Schedules", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Schedules(ctx) }},
	{name: "Tick", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Tick(ctx, backend.Tick{
			Name: "bench", Definition: "d", Due: b.s.start, Next: b.s.start.Add(time.Hour),
			Jobs: []backend.NewJob{{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3}},
		})
	}},
	{name: "PauseSchedule", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.PauseSchedule(ctx, "bench", true)
	}},
	{name: "Progress", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.StoreProgress(ctx, []backend.Progress{{Lease: b.s.leases[0], Done: 1, Total: 2}, {Lease: b.s.leases[1], Done: 2, Total: 2}})
	}},
	{name: "Wait", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.Wait(ctx, backend.ClaimRequest{Worker: benchWorker, Names: benchNames, Limit: 1})
	}},
	{name: "WaitInVain", endless: 25, call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.Wait(ctx, backend.ClaimRequest{Worker: benchWorker, Names: []string{"bench/idle"}, Limit: 1})
	}},
}

// within calls f in a transaction of the application, which commits whatever f
// returns: a call that failed must have stored nothing.
func (b *bench) within(f func(*sql.Tx) (any, error)) (any, error) {
	tx, err := b.app.BeginTx(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	result, err := f(tx)
	if commitErr := tx.Commit(); commitErr != nil {
		return nil, fmt.Errorf("the application's commit: %w", commitErr)
	}
	return result, err
}

// A sweeper sweeps methods.
type sweeper struct {
	*server
	dir      string
	borrowed bool
	files    []byte // of the database
	scene    *scene
	n        int
	Sweep
}

// sweep cancels a method before and after each of its driver calls, on a store
// with a file and on one that borrows the application's connections.
func (s *server) sweep(name string, stride, offset int) (sum Sweep, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(s.Path), "cancel-")
	if err != nil {
		return sum, err
	}
	defer os.RemoveAll(dir)
	for i := range methods {
		if methods[i].name != name {
			continue
		}
		for _, borrowed := range []bool{false, true} {
			w := &sweeper{server: s, dir: dir, borrowed: borrowed}
			if err := w.method(&methods[i], stride, offset); err != nil {
				return sum, fmt.Errorf("%s: %w", name, err)
			}
			sum.Add(w.Sweep)
		}
		return sum, nil
	}
	return sum, fmt.Errorf("there is no method %q", name)
}

// Add adds the results of another sweep.
func (s *Sweep) Add(o Sweep) {
	s.Calls += o.Calls
	s.Runs += o.Runs
	s.Nils += o.Nils
	s.Errors += o.Errors
	s.Missing += o.Missing
	s.Partial += o.Partial
	s.Broken += o.Broken
	s.WrongError += o.WrongError
	s.Faults = append(s.Faults, o.Faults...)
}

// bench returns a store in the state of the scene: a copy of the first store.
func (w *sweeper) bench(m *method) (b *bench, err error) {
	b = &bench{canceller: &canceller{}, borrowed: w.borrowed}
	w.n++
	path := filepath.Join(w.dir, fmt.Sprintf("%d.db", w.n))
	first := w.scene == nil
	if first || w.borrowed { // a database in memory cannot be copied
		w.scene = &scene{start: time.Unix(1_700_000_000, 0)}
	}
	b.s = w.scene
	opts := &sqlite.Options{History: m.history, Clock: func() time.Time { return b.s.start.Add(time.Second) }}
	setup := &sqlite.Options{Clock: func() time.Time { return b.s.start }}
	drv, err := w.withHook(b.canceller)
	if err != nil {
		return nil, err
	}
	if w.borrowed {
		b.app = sql.OpenDB(drv.Connector(fmt.Sprintf("file:/cancel-%d?vfs=memdb", memories.Add(1))))
		b.raw = b.app
		store, err := sqlite.New(b.app, setup)
		if err == nil {
			err = errors.Join(b.s.prepare(store), store.Close())
		}
		if err == nil {
			b.store, err = sqlite.New(b.app, opts)
		}
		return b, err
	}
	if first {
		store, err := w.Open(path, setup)
		if err == nil {
			err = errors.Join(b.s.prepare(store), store.Close())
		}
		if err == nil {
			w.files, err = os.ReadFile(path)
		}
		if err != nil {
			return nil, err
		}
	} else if err := os.WriteFile(path, w.files, 0o600); err != nil {
		return nil, err
	}
	if b.store, err = sqlite.Open(drv, path, opts); err != nil {
		return nil, err
	}
	dsn := "file:" + path + "?_txlock=immediate"
	b.app = sql.OpenDB(drv.Connector(dsn))
	b.app.SetMaxOpenConns(1)
	b.raw, err = sql.Open(w.SQL, "file:"+path+"?_txlock=deferred&_busy_timeout=1&_pragma=busy_timeout(1)")
	return b, err
}

// memories counts databases in memory, whose names are shared in a process.
var memories atomic.Int64

func (b *bench) close() error {
	err := errors.Join(b.store.Close(), b.app.Close())
	if b.raw != b.app {
		err = errors.Join(err, b.raw.Close())
	}
	return err
}

// method sweeps one method.
func (w *sweeper) method(m *method, stride, offset int) error {
	b, err := w.bench(m)
	if err != nil {
		return err
	}
	before, err := b.dump()
	if err != nil {
		return err
	}
	var want, after string
	if m.endless == 0 {
		result, err := m.call(b.arm(0, false), b)
		w.Calls = b.disarm()
		if err != nil {
			return fmt.Errorf("without being cancelled: %w", err)
		}
		want = text(result)
		if after, err = b.dump(); err != nil {
			return err
		}
	} else {
		w.Calls, after = m.endless, before
	}
	if err := b.close(); err != nil {
		return err
	}
	for k := 1 + offset%stride; k <= w.Calls; k += stride {
		for _, late := range []bool{false, true} {
			if b, err = w.bench(m); err != nil {
				return err
			}
			w.one(m, b, k, late, before, after, want)
			if err := b.close(); err != nil {
				w.wrong(&w.Broken, "%s: closing: %v", m.name, err)
			}
		}
	}
	return nil
}

// one cancels a method once.
func (w *sweeper) one(m *method, b *bench, k int, late bool, before, after, want string) {
	ctx := b.arm(k, late)
	result, err := m.call(ctx, b)
	ended := ctx.Err()
	b.disarm()
	what := fmt.Sprintf("%s cancelled before call %d", m.name, k)
	if late {
		what = fmt.Sprintf("%s cancelled after call %d", m.name, k)
	}
	if b.borrowed {
		what += " (borrowed)"
	}
	w.Runs++
	is, dumpErr := b.dump()
	if dumpErr != nil {
		w.wrong(&w.Broken, "%s: the database cannot be read: %v", what, dumpErr)
		return
	}
	if err == nil {
		w.Nils++
		if is != after || text(result) != want {
			w.wrong(&w.Missing, "%s: returned nil without its effect: %s, want %s; %s", what, text(result), want, firstDifference(is, after))
		}
	} else {
		w.Errors++
		if is != before && is != after {
			w.wrong(&w.Partial, "%s: %v and %s", what, err, firstDifference(is, before))
		}
		if ended == nil || !errors.Is(err, ended) {
			w.wrong(&w.WrongError, "%s: %v, want %v", what, err, ended)
		}
	}
	if err := b.healthy(); err != nil {
		w.wrong(&w.Broken, "%s: %v", what, err)
	}
}

// healthy returns what is wrong with the store after a call.
func (b *bench) healthy() error {
	if n := b.open(); n != 0 {
		return fmt.Errorf("%d results are open", n)
	}
	kept := 0
	if b.borrowed {
		kept = 1 // the store keeps one, so that the database in memory lasts
	}
	if n := b.app.Stats().InUse; n != kept {
		return fmt.Errorf("%d of the application's connections are in use, want %d", n, kept)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := b.store.Count(ctx); err != nil {
		return fmt.Errorf("reading afterwards: %w", err)
	}
	unknown := backend.Worker{ID: 12345, Lease: time.Hour}
	if _, err := b.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: unknown}); !errors.Is(err, backend.ErrWorkerGone) {
		return fmt.Errorf("writing afterwards: %w, want ErrWorkerGone", err)
	}
	if b.borrowed {
		return nil
	}
	// An open transaction blocks the checkpoint, also that of a reader.
	var blocked, frames, moved int
	err := b.raw.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&blocked, &frames, &moved)
	if err == nil && blocked != 0 {
		err = errors.New("a transaction is open")
	}
	return err
}

var randomToken = regexp.MustCompile(`"Token":[0-9]+`)

// text returns a result in the form in which results are compared.
func text(result any) string {
	t, err := json.Marshal(result)
	if err != nil {
		return err.Error()
	}
	return randomToken.ReplaceAllString(string(t), `"Token":0`)
}
