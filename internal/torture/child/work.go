package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

// work runs a worker on a recorder.
func (c *child) work(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	ctx, end := context.WithCancel(ctx)
	defer end()
	go c.obey(end)

	j, err := openJournal(c.Ledger)
	if err != nil {
		return err
	}
	points := newPoints(c.Point, c.Hit)
	store, err := c.openAt(points)
	if err != nil {
		return err
	}
	r := newRecorder(store, j)
	r.point = points.reach
	q := plainjobs.New(r, nil)
	h := &handler{child: c, recorder: r, queue: q}
	plainjobs.Handle(q, even, h.run)
	plainjobs.Handle(q, odd, h.run)
	jobs := []plainjobs.AnyJob{even, odd}
	if c.Ticks {
		jobs = append(jobs, bindTicking(q, j)...)
	}
	c.say(Reply{Ready: true})
	err = worker.New(q, &worker.Options{
		Jobs: jobs, Concurrency: c.Concurrency, Lease: c.Lease, Grace: c.Grace,
		Logger: c.logger(j),
	}).Run(ctx)
	return errors.Join(err, q.Close())
}

// logger returns the worker's.
func (c *child) logger(j *journal) *slog.Logger {
	if !c.Log {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(noteHandler{j})
}

// A noteHandler notes log lines, without attributes.
type noteHandler struct{ *journal }

func (noteHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h noteHandler) WithAttrs([]slog.Attr) slog.Handler         { return h }
func (h noteHandler) WithGroup(string) slog.Handler              { return h }
func (h noteHandler) Handle(_ context.Context, r slog.Record) error {
	h.one(NoteLog, fmt.Sprintf("%v %s", r.Level, r.Message))
	return nil
}

// A handler runs tasks.
type handler struct {
	*child
	*recorder
	queue *plainjobs.Queue
	app   effector
}

func (h *handler) run(ctx context.Context, t Task) error {
	info, _ := plainjobs.FromContext(ctx)
	claim := h.claim(info.ID)
	h.one(NoteStarted, fmt.Sprintf("%d %d %d", claim.Token, info.ID, info.Attempt))
	outcome := OutcomeFail // if the handler does not return
	ended := false
	end := func() {
		if !ended {
			h.one(NoteEnded, fmt.Sprintf("%d %s", claim.Token, outcome))
		}
		ended = true
	}
	defer func() {
		if errors.Is(context.Cause(ctx), plainjobs.ErrLeaseLost) {
			outcome = OutcomeLost
		}
		end()
		if outcome == OutcomeLost {
			go h.noteLostLeases(claim)
		}
	}()
	if err := h.act(ctx, t, info.ID); err != nil {
		if errors.Is(context.Cause(ctx), plainjobs.ErrStopped) {
			outcome = OutcomeStop
		}
		return err
	}
	if info.Attempt <= t.Fails {
		return fmt.Errorf("attempt %d of task %d is to fail", info.Attempt, t.N)
	}
	if t.Do == ActionEffect {
		return h.effect(ctx, info.ID, claim, func() {
			outcome = OutcomeDone
			end()
		})
	}
	outcome = OutcomeDone
	return nil
}

func (h *handler) act(ctx context.Context, t Task, id int64) error {
	switch t.Do {
	case ActionPanic:
		panic(fmt.Sprint("task ", t.N))
	case ActionPanicNil:
		panic(nil)
	case ActionGoexit:
		runtime.Goexit()
	case ActionExit:
		os.Exit(3)
	case ActionNilDeref:
		go func() {
			var p *Task
			p.N++
		}()
		<-make(chan struct{}) // until the panic ends the process
	case ActionIgnoreContext:
		time.Sleep(t.Takes)
		return nil
	case ActionNeverReturn:
		if h.claim(id).suspect {
			return nil // this is not the first run
		}
		<-make(chan struct{})
	case ActionHugeError:
		return errors.New(strings.Repeat("huge ", 8<<20/5))
	case ActionBinaryError:
		return errors.New("\x00\xff\xfe\x80 not text \xed\xa0\x80\x00")
	case ActionLate:
		if h.claim(id).suspect {
			return nil // this is not the first run
		}
		for ctx.Err() == nil { // until the process was frozen for long enough
			h.say(Reply{Late: id})
			wait(ctx, time.Second)
		}
		if errors.Is(context.Cause(ctx), plainjobs.ErrLeaseLost) {
			return nil
		}
		return ctx.Err()
	case ActionCloseQueue:
		return h.queue.Close()
	case ActionHold:
		h.say(Reply{Holds: id})
		if h.claim(id).suspect {
			return nil // this is not the first run
		}
		<-ctx.Done()
		return ctx.Err()
	case ActionOverflowStack:
		debug.SetMaxStack(16 << 20) // to be quick
		return overflow(0)
	case ActionExhaustMemory:
		if err := limitMemory(64 << 20); err != nil {
			return err
		}
		for taken := [][]byte(nil); ; {
			taken = append(taken, make([]byte, 8<<20))
			runtime.KeepAlive(taken)
		}
	}
	timer := time.NewTimer(t.Takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// overflow calls itself until the stack overflows.
func overflow(depth int) error {
	if depth < 0 {
		return nil
	}
	return errors.Join(overflow(depth+1), nil)
}

var _ io.Closer = (*recorder)(nil)
