package postgres

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// foldEvery is the shortest time between the folds of a process: the members of a
	// large group that end meanwhile are folded together.
	foldEvery = 20 * time.Millisecond
	// foldSoon is foldEvery after a fold that has ended a gate: what follows in a flow may end
	// soon, too.
	foldSoon = time.Millisecond
	// A call that waits for a fold tries again if other transactions have locked the gate,
	// after a pause of so long at most. Then the folder goes on with the gate.
	foldPatience = 32 * time.Millisecond
	reapPatience = 256 * time.Millisecond
	// A gate that stays locked is tried less and less often.
	maxFoldPause = time.Second
	// maxWatched bounds how long the folder waits for the end of an application's
	// transaction. Then Reap folds its gates.
	maxWatched = 10 * time.Minute
	// foldTime bounds one round of folds.
	foldTime = 30 * time.Second
)

// A folder folds gates in the background: after the commits of the process, and after
// those of the application's transactions, whose end it has to find out.
type folder struct {
	b      *Backend
	ctx    context.Context // ends when the store closes
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	gates   map[int64]bool
	watched []watchedTx
	running bool
	ended   atomic.Int64  // how many gates folds have ended
	wake    chan struct{} // has room for one
}

// A watchedTx is a transaction of the application that changes gates.
type watchedTx struct {
	id    string
	gates []int64
	since time.Time
}

func (f *folder) start(b *Backend) {
	f.b = b
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.wake = make(chan struct{}, 1)
}

// close folds what is left, and stops the folder.
func (f *folder) close() {
	f.cancel()
	f.tasks.Wait()
}

// request has gates folded soon.
func (f *folder) request(gates []int64) { f.add(gates, nil) }

func (f *folder) add(gates []int64, tx *watchedTx) {
	if len(gates) == 0 && tx == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gather(gates)
	if tx != nil {
		f.watched = append(f.watched, *tx)
	}
	if !f.running && f.ctx.Err() == nil {
		f.running = true
		f.tasks.Go(f.run)
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *folder) gather(gates []int64) {
	if f.gates == nil {
		f.gates = map[int64]bool{}
	}
	for _, id := range gates {
		f.gates[id] = true
	}
}

// take returns the gates to fold and the transactions to watch. Without any, the folder
// ends.
func (f *folder) take() (gates []int64, watched []watchedTx, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gates, watched = sorted(f.gates), f.watched
	f.gates, f.watched = nil, nil
	f.running = len(gates)+len(watched) > 0
	return gates, watched, f.running
}

// run folds until nothing is left, or the store closes.
func (f *folder) run() {
	for stuck := time.Duration(0); ; {
		closing := f.ctx.Err() != nil
		gates, watched, ok := f.take()
		if !ok {
			return
		}
		committed, open := f.look(watched)
		gates = append(gates, committed...)
		before := f.ended.Load()
		left := f.fold(gates)
		if closing {
			return
		}
		pause := foldEvery
		switch {
		case len(left) == 0 && f.ended.Load() > before:
			pause = foldSoon
		case len(left) > 0 && len(left) >= len(gates):
			stuck = min(max(2*stuck, foldEvery), maxFoldPause)
			pause = stuck
		case len(left) > 0:
			stuck = 0
		case len(gates) == 0 && len(open) > 0:
			pause = min(max(time.Since(open[len(open)-1].since)/4, time.Millisecond), maxFoldPause)
		}
		f.putBack(left, open)
		f.sleep(pause)
	}
}

// sleep waits for the pause, or for a request that comes after foldEvery.
func (f *folder) sleep(pause time.Duration) {
	soon, late := time.NewTimer(min(pause, foldEvery)), time.NewTimer(pause)
	defer soon.Stop()
	defer late.Stop()
	select {
	case <-soon.C:
	case <-f.ctx.Done():
		return
	}
	select {
	case <-late.C:
	case <-f.wake:
	case <-f.ctx.Done():
	}
}

func (f *folder) putBack(gates []int64, watched []watchedTx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gather(gates)
	f.watched = append(watched, f.watched...)
}

// callContext returns the context of a call that ends soon after the store closes.
func (f *folder) callContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), foldTime)
	stop := context.AfterFunc(f.ctx, func() { time.AfterFunc(maxFoldPause, cancel) })
	return ctx, func() { stop(); cancel() }
}

// fold folds gates, and returns those that are left.
func (f *folder) fold(gates []int64) []int64 {
	if len(gates) == 0 {
		return nil
	}
	ctx, cancel := f.callContext()
	defer cancel()
	left, _ := f.b.foldGates(ctx, gates) // after an error, those that were not folded
	return left
}

const (
	selectXactID = `SELECT pg_current_xact_id()::text`
	selectXacts  = `SELECT v.id FROM unnest($1::text::text[]) AS v(id) WHERE pg_xact_status(v.id::xid8) = 'in progress'`
)

// foldAtCommit has the gates folded that a transaction of the application changes, once
// that has committed.
func (t *tx) foldAtCommit() error {
	w := watchedTx{gates: t.toFold(), since: time.Now()}
	if len(w.gates) == 0 {
		return nil
	}
	err := t.each(selectXactID, nil, func(r *sql.Rows) error { return r.Scan(&w.id) })
	if err == nil {
		t.b.folder.add(nil, &w)
	}
	return err
}

// look returns the gates of the transactions that have ended, and the others. If the
// server cannot say so, they have.
func (f *folder) look(watched []watchedTx) (ended []int64, open []watchedTx) {
	if len(watched) == 0 {
		return nil, nil
	}
	ids := make([]string, len(watched))
	for i, w := range watched {
		ids[i] = w.id
	}
	progress := map[string]bool{}
	ctx, cancel := f.callContext()
	defer cancel()
	_ = f.b.alone(ctx, true, func(q querier) error { // without an answer, all have ended
		return f.b.scan(ctx, q, selectXacts, []any{textArray(ids)}, func(r *sql.Rows) error {
			var id string
			err := r.Scan(&id)
			progress[id] = true
			return err
		})
	})
	for _, w := range watched {
		switch {
		case !progress[w.id]:
			ended = append(ended, w.gates...)
		case time.Since(w.since) < maxWatched:
			open = append(open, w)
		}
	}
	return ended, open
}

// foldAfter is foldNow after a call.
func (b *Backend) foldAfter(ctx context.Context, gates []int64) {
	if len(gates) == 0 {
		return
	}
	if leave, err := b.enter(); err == nil { // otherwise a later Reap folds them
		defer leave()
		b.foldNow(ctx, gates)
	}
}

// foldNow folds gates, and leaves those to the folder that stay locked.
func (b *Backend) foldNow(ctx context.Context, gates []int64) {
	if len(gates) == 0 {
		return
	}
	var err error
	for pause := time.Millisecond; ; pause *= 2 {
		gates, err = b.foldGates(ctx, gates)
		if len(gates) == 0 {
			return
		}
		if err != nil || pause > foldPatience {
			b.folder.request(gates)
			return
		}
		b.pause(ctx, pause)
	}
}

// pause waits, unless the context ends.
func (b *Backend) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
