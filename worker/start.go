package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// A started is sessions that Start has started.
type started struct {
	stop    context.CancelFunc
	release func() // ends the grace period
	done    chan struct{}
	err     error // why the sessions ended; set before done is closed
}

// Start starts the worker and returns once it is registered in the store, or is paused
// because the store belongs to another environment. What prevents the worker from working
// is an error of Start: an invalid option, a job without a handler or with an option that
// the store does not support, an unknown time zone, a store that refuses the worker. If the
// store does not answer, Start tries again until ctx ends.
//
// ctx limits the start only. The handlers' contexts have its values. The worker works
// until [Worker.Stop] is called, or [Worker.Run] is called and its context ends. If the
// worker ends by itself it logs the error, which Stop or Run returns.
func (w *Worker) Start(ctx context.Context) error {
	all, err := w.sessions(ctx)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	released, done, ready := make(chan struct{}), make(chan struct{}), make(chan struct{})
	b := &started{stop: stop, release: sync.OnceFunc(func() { close(released) }), done: done}
	w.mu.Lock()
	if w.started != nil {
		w.mu.Unlock()
		stop()
		return errors.New("worker: Start of a worker that is started: call Stop first")
	}
	w.started = b
	w.mu.Unlock()
	if own := w.opts.ReleaseNow; own != nil {
		go func() {
			select {
			case <-own:
				b.release()
			case <-done:
			}
		}()
	}
	for _, s := range all {
		s.opts.ReleaseNow = released
	}
	all.onReady(func() { close(ready) })

	tooLate := context.AfterFunc(ctx, stop)
	go func() {
		defer close(done)
		b.err = all.run(work)
		stop()
	}()
	select {
	case <-ready:
		if tooLate() {
			go b.logError(all[0].opts.Logger)
			return nil
		}
		<-done
	case <-done:
		tooLate()
		select {
		case <-ready: // with Options.Drain it may have ended
			return nil
		default:
		}
	}
	w.forget(b)
	switch {
	case b.err != nil:
		return fmt.Errorf("worker: %w", b.err)
	case ctx.Err() != nil:
		return fmt.Errorf("worker: not started: %w", context.Cause(ctx))
	}
	return errors.New("worker: not started: Stop was called")
}

// logError logs why the sessions ended, if it was by themselves.
func (b *started) logError(log *slog.Logger) {
	if <-b.done; b.err != nil {
		log.Error("plainjobs: the worker has ended", slog.String("error", firstLine(b.err.Error())))
	}
}

// Stop ends a worker that Start has started, as the end of Run's context does, and
// returns what Run would return. If ctx ends first, so does the grace period; Stop
// returns at most 5 seconds later. If the worker is not started, Stop returns nil.
func (w *Worker) Stop(ctx context.Context) error {
	b := w.background()
	if b == nil {
		return nil
	}
	b.stop()
	select {
	case <-b.done:
	case <-ctx.Done():
		b.release()
	}
	return w.wait(b)
}

// wait waits until the sessions have ended, and returns why.
func (w *Worker) wait(b *started) error {
	<-b.done
	w.forget(b)
	if b.err != nil {
		return fmt.Errorf("worker: %w", b.err)
	}
	return nil
}

// background returns the sessions that Start has started, or nil.
func (w *Worker) background() *started {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.started
}

// forget lets Start start other sessions than b.
func (w *Worker) forget(b *started) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started == b {
		w.started = nil
	}
}
