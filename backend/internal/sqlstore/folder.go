package sqlstore

import (
	"context"
	"slices"
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
	// foldTime bounds one round of folds.
	foldTime = 30 * time.Second
)

// maxFolds bounds the gates that a transaction folds.
const maxFolds = 100

// A Folder adds the changes of gates to them. It does so in the background, too: after the
// commits of the process, and after those of the application's transactions, whose end it has to
// find out.
type Folder struct {
	// Fold folds gates in a transaction. It returns those that are left, because other
	// transactions have locked them or their waiters, and those that it has changed.
	Fold func(ctx context.Context, gates []int64) (left, changed []int64, err error)
	// Open reports which of the application's transactions are in progress.
	Open func(ctx context.Context, txs []int64) (map[int64]bool, error)
	// Watch bounds how long the folder waits for the end of such a transaction. Then Reap folds
	// its gates.
	Watch time.Duration

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
	id    int64
	gates []int64
	since time.Time
}

// Start begins the work of f.
func (f *Folder) Start() {
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.wake = make(chan struct{}, 1)
}

// Close folds what is left, and stops f.
func (f *Folder) Close() {
	f.cancel()
	f.tasks.Wait()
}

// Request has gates folded soon.
func (f *Folder) Request(gates []int64) { f.add(gates, nil) }

// After has gates folded soon after a transaction of the application has committed.
func (f *Folder) After(tx int64, gates []int64) {
	f.add(nil, &watchedTx{id: tx, gates: gates, since: time.Now()})
}

// Ended notes that a fold has ended a gate.
func (f *Folder) Ended() { f.ended.Add(1) }

// All folds gates, and those that the folds change. That may end other jobs, which count in
// other gates. It returns the gates that are left, because other transactions have locked them
// or their waiters.
//
// Only a fold ends a gate. It sees every change that was committed before it locked the
// gate. So of several transactions that end the last members at once, the fold after the
// last commit finds that no member is left.
func (f *Folder) All(ctx context.Context, gates []int64) (left []int64, err error) {
	for len(gates) > 0 {
		n := min(len(gates), maxFolds)
		part := gates[:n:n]
		gates = gates[n:]
		locked, next, err := f.Fold(ctx, part)
		if err != nil {
			return slices.Concat(left, part, gates), err
		}
		left, gates = append(left, locked...), slices.Concat(gates, next)
	}
	return left, nil
}

// Now folds gates, and leaves those to the background that stay locked.
func (f *Folder) Now(ctx context.Context, gates []int64) {
	if len(gates) == 0 {
		return
	}
	var err error
	for pause := time.Millisecond; ; pause *= 2 {
		gates, err = f.All(ctx, gates)
		if len(gates) == 0 {
			return
		}
		if err != nil || pause > foldPatience {
			f.Request(gates)
			return
		}
		Pause(ctx, pause)
	}
}

// Found folds gates, and those that find finds, until there are none. It waits for folds in
// progress, and then folds the gates that these have changed.
func (f *Folder) Found(ctx context.Context, gates []int64, find func(context.Context) ([]int64, error)) error {
	seen := map[int64]bool{}
	for pause := time.Millisecond; ; pause *= 2 {
		found, err := find(ctx)
		if err != nil {
			return err
		}
		// Members of one gate may end without end.
		gates = slices.DeleteFunc(append(gates, found...), func(id int64) bool { return seen[id] })
		if len(gates) == 0 {
			return nil
		}
		left, err := f.All(ctx, gates)
		if err != nil || pause > reapPatience {
			f.Request(left)
			return err
		}
		for _, id := range gates {
			seen[id] = !slices.Contains(left, id)
		}
		gates = left
		if len(left) > 0 {
			Pause(ctx, pause)
		}
	}
}

func (f *Folder) add(gates []int64, tx *watchedTx) {
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

func (f *Folder) gather(gates []int64) {
	if f.gates == nil {
		f.gates = map[int64]bool{}
	}
	for _, id := range gates {
		f.gates[id] = true
	}
}

// take returns the gates to fold and the transactions to watch. Without any, the folder
// ends.
func (f *Folder) take() (gates []int64, watched []watchedTx, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gates, watched = Sorted(f.gates), f.watched
	f.gates, f.watched = nil, nil
	f.running = len(gates)+len(watched) > 0
	return gates, watched, f.running
}

// run folds until nothing is left, or the store closes.
func (f *Folder) run() {
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
func (f *Folder) sleep(pause time.Duration) {
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

func (f *Folder) putBack(gates []int64, watched []watchedTx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gather(gates)
	f.watched = append(watched, f.watched...)
}

// callContext returns the context of a call that ends soon after the store closes.
func (f *Folder) callContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), foldTime)
	stop := context.AfterFunc(f.ctx, func() { time.AfterFunc(maxFoldPause, cancel) })
	return ctx, func() { stop(); cancel() }
}

// fold folds gates, and returns those that are left.
func (f *Folder) fold(gates []int64) []int64 {
	if len(gates) == 0 {
		return nil
	}
	ctx, cancel := f.callContext()
	defer cancel()
	left, _ := f.All(ctx, gates) // after an error, those that were not folded
	return left
}

// look returns the gates of the transactions that have ended, and the others. If the
// server cannot say so, they have.
func (f *Folder) look(watched []watchedTx) (ended []int64, open []watchedTx) {
	if len(watched) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(watched))
	for i, w := range watched {
		ids[i] = w.id
	}
	ctx, cancel := f.callContext()
	defer cancel()
	progress, _ := f.Open(ctx, ids) // without an answer, all have ended
	for _, w := range watched {
		switch {
		case !progress[w.id]:
			ended = append(ended, w.gates...)
		case time.Since(w.since) < f.Watch:
			open = append(open, w)
		}
	}
	return ended, open
}
