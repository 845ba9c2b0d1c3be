package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A listener wakes waiting workers: at once for changes by this process, and on
// notifications from other processes.
type listener struct {
	b      *Backend
	ctx    context.Context // ends when the store closes
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	listening  atomic.Bool
	announced  atomic.Int64 // when a transaction of the application was last chosen to notify, in nanoseconds
	lastNotice atomic.Int64 // when such a notification was last received, in nanoseconds

	mu        sync.Mutex
	changed   chan struct{}
	closed    bool
	connected bool // a goroutine listens
	notifying bool // a goroutine sends notifications
	again     bool // and must send another
}

func (w *listener) start(b *Backend) {
	w.b = b
	w.ctx, w.cancel = context.WithCancel(context.Background())
}

// receive starts listening. A store that never waits needs no connection for it.
func (w *listener) receive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.connected || w.closed || !w.b.listens() {
		return
	}
	w.connected = true
	w.tasks.Go(w.listen)
}

// channel returns a channel that is closed at the next change, and whether the
// store is closed.
func (w *listener) channel() (<-chan struct{}, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed, w.closed
}

// wake wakes the waiting workers of this process.
func (w *listener) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// notifyLater wakes waiting workers in all processes.
func (w *listener) notifyLater() {
	w.wake()
	if w.b == nil || w.b.opts.NoListen {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.again = true
	if !w.notifying {
		w.notifying = true
		w.tasks.Go(w.notify)
	}
}

func (w *listener) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wake()
}

// wait stops the background goroutines. Pending notifications are sent first.
func (w *listener) wait() {
	w.cancel()
	w.tasks.Wait()
}

// notifyEvery is the shortest interval between a process's notifications. Commits
// that notify wait for each other across the whole server.
const notifyEvery = 2 * time.Millisecond

// A lost notification does no harm, because waiting workers also poll. So it is
// not worth an fsync.
const sendNotification = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1::text, $2::text)`

// notify sends notifications until none is pending.
func (w *listener) notify() {
	for {
		w.mu.Lock()
		if !w.again {
			w.notifying = false
			w.mu.Unlock()
			return
		}
		w.again = false
		w.mu.Unlock()
		next := time.After(notifyEvery)
		// Close waits for this, but not for long.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 5*time.Second)
		_, err := w.b.db.ExecContext(ctx, sendNotification, w.name(), w.b.self)
		cancel()
		if err != nil {
			w.b.opts.Logger.Debug("postgres: notify", "error", Redact(err))
		}
		select {
		case <-next:
		case <-w.ctx.Done():
		}
	}
}

// name returns the channel's name, which is unique in the database.
func (w *listener) name() string { return "plainjobs:" + w.b.opts.Schema }

// Bounds of the pause before listening again after the connection was cut.
const (
	minRelisten = 100 * time.Millisecond
	maxRelisten = 10 * time.Second
)

// listen receives notifications until the store is closed.
func (w *listener) listen() {
	pause := minRelisten
	for w.ctx.Err() == nil {
		ready := func() {
			pause = minRelisten
			w.listening.Store(true)
			w.wake()
		}
		heard := func(sender string) {
			if sender == w.b.self {
				return
			}
			if sender == announcer {
				w.noteNotice()
			}
			w.wake()
		}
		err := w.b.opts.Listen(w.ctx, w.name(), ready, heard)
		w.listening.Store(false)
		if w.ctx.Err() != nil {
			return
		}
		if pause == 2*minRelisten { // a single cut is not worth a warning
			w.b.opts.Logger.Warn("postgres: not listening; jobs of other processes are found by polling", "error", Redact(err))
		}
		select {
		case <-time.After(pause):
		case <-w.ctx.Done():
		}
		pause = min(2*pause, maxRelisten)
	}
}
