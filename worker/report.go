package worker

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A reporter logs what happens to runs and sends it to the queue's subscribers. Its
// caller holds no mutex of the session: a subscriber, or the log's handler, may call
// the queue.
type reporter struct {
	*setup
	stuck stuckRuns

	mu     sync.RWMutex // read-locked while an event is sent
	closed bool         // Run is about to return: no more events
}

// emit sends an event to the queue's subscribers, unless Run is about to return.
func (p *reporter) emit(e engine.Event) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.closed {
		p.queue.Events.Emit(p.opts.Logger, e)
	}
}

// close waits for the events that are being sent. No event is sent afterwards.
func (p *reporter) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// ended reports how a run ended. The log gets its name, ID, attempt and duration,
// and the first line of its error, never its payload.
func (p *reporter) ended(e outcome, err error) {
	r, f := e.run, e.failure
	if p.queue.Events.Wanted() && !r.isLost() {
		p.emit(eventOf(e, err))
	}
	level, message := slog.LevelDebug, "plainjobs: done"
	if f != nil {
		switch f.Ending {
		case backend.EndRetry:
			level, message = slog.LevelWarn, "plainjobs: failed, will be retried"
		case backend.EndFailed:
			level, message = slog.LevelError, "plainjobs: failed"
		case backend.EndCancelled:
			level, message = slog.LevelWarn, "plainjobs: cancelled"
		case backend.EndSnooze:
			message = "plainjobs: snoozed"
			if f.Error != "" { // see engine.FailureOf
				level, message = slog.LevelWarn, "plainjobs: the job cannot be decrypted and waits; it uses no attempt"
				if !p.log.allow("decrypt " + r.job.Name) {
					return
				}
			}
		case backend.EndSleep:
			message = "plainjobs: sleeps"
		case backend.EndRelease:
			level, message = slog.LevelInfo, "plainjobs: interrupted and released"
		}
	}
	if !p.opts.Logger.Enabled(p.handlers, level) || r.isLost() {
		return
	}
	a := append(attrs(r), slog.Duration("took", e.took))
	if f != nil && f.Error != "" && (!p.queue.EncryptErrors || f.Error == engine.KeyText(err)) {
		a = append(a, slog.String("error", firstLine(f.Error)))
	}
	if where := engine.PanicAt(err); where != "" {
		a = append(a, slog.String("at", where))
	}
	if f != nil && f.Delay > 0 {
		a = append(a, slog.Duration("in", f.Delay))
	}
	p.opts.Logger.Log(p.handlers, level, message, a...)
}

// eventOf returns the event of a run that has ended with err.
func eventOf(e outcome, err error) engine.Event {
	event := engine.EventOf(e.run.job, e.failure, err)
	event.Took, event.Result = e.took, e.run.ctx.Info.Result
	if !e.unstarted {
		event.Began = e.run.ctx.Info.Began
	}
	return event
}

// lost reports runs whose leases were lost.
func (p *reporter) lost(runs []lostRun) {
	for _, r := range runs {
		if !r.began.IsZero() {
			p.reportIfStuck(r.run, stuckAfter)
		}
	}
	for _, r := range runs {
		p.opts.Logger.Warn("plainjobs: lease lost", attrs(r.run)...)
		p.emit(engine.Event{Kind: engine.Lost, Job: r.job, Err: plainjobs.ErrLeaseLost, Began: r.began})
	}
}

// stuckAfter is how long a handler may run after the end of its context before it
// is reported as stuck.
const stuckAfter = 5 * time.Second

// errStuck is the error of the event for a stuck run.
var errStuck = errors.New("the handler still runs although its context has ended")

// reportIfStuck reports a run that has started if it still runs after a time.
func (p *reporter) reportIfStuck(r *run, after time.Duration) *time.Timer {
	return time.AfterFunc(after, func() {
		if !r.running.Load() || r.stuck.Swap(true) {
			return
		}
		stack := stackOf(r.slot)
		p.stuck.add(r, stack)
		p.opts.Logger.Error("plainjobs: stuck: the handler still runs although its context has ended",
			append(attrs(r), slog.Duration("overdue", stuckAfter), slog.String("stack", stack))...)
		p.emit(engine.Event{Kind: engine.Stuck, Job: r.job, Err: errStuck, Began: r.ctx.Info.Began})
	})
}

func firstLine(text string) string {
	line, _, cut := strings.Cut(text, "\n")
	if len(line) > 200 {
		line, cut = line[:200], true
	}
	if cut {
		line += " …"
	}
	return strings.ToValidUTF8(line, "?")
}
