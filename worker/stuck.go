package worker

import (
	"bytes"
	"errors"
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// stuckAfter is how long a handler may go on after the end of its context
// before it is reported.
const stuckAfter = 5 * time.Second

// errStuck is what a stuck run is reported with.
var errStuck = errors.New("the handler goes on although its context has ended")

// reportIfStuck reports the run if it is still running when a time has passed.
func (s *session) reportIfStuck(r *run, after time.Duration) *time.Timer {
	return time.AfterFunc(after, func() {
		s.mu.Lock()
		running, slot, began := r.running, r.slot, r.ctx.Info.Began
		s.mu.Unlock()
		if !running || r.reported.Swap(true) {
			return
		}
		s.opts.Logger.Error("plainjobs: stuck: the handler goes on although its context has ended",
			append(attrs(r), slog.Duration("over", stuckAfter), slog.String("stack", stackOf(slot)))...)
		s.emit(engine.Event{Kind: engine.Stuck, Job: r.job, Err: errStuck, Began: began})
	})
}

// goroutineID returns the number of the calling goroutine. It is asked once for
// a slot, which runs many handlers.
func goroutineID() int64 {
	var buf [64]byte
	text, _ := bytes.CutPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	digits, _, _ := bytes.Cut(text, []byte(" "))
	id, _ := strconv.ParseInt(string(digits), 10, 64)
	return id
}

// maxStacks bounds the memory for the stacks of all goroutines.
const maxStacks = 16 << 20

// stackOf returns where a goroutine stands.
func stackOf(id int64) string {
	var buf []byte
	for size := 64 << 10; size <= maxStacks; size *= 2 {
		buf = make([]byte, size)
		n := runtime.Stack(buf, true)
		buf = buf[:n]
		if n < size {
			break
		}
	}
	for part := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if bytes.HasPrefix(part, []byte("goroutine "+strconv.FormatInt(id, 10)+" ")) {
			return string(engine.PlainStack(part))
		}
	}
	return "not found among the goroutines"
}
