package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// patience is how long a child may take, on a busy machine, for an operation
// that is normally quick.
const patience = 90 * time.Second

// A process is a child, running or ended.
type process struct {
	ctx    context.Context // of the test
	number int
	driver string
	role   child.Role
	ledger string // its file
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	orders *json.Encoder
	stderr bytes.Buffer // to be read when it has ended

	ready   chan struct{} // closed when it reports that it has begun
	replies chan child.Reply
	ended   chan struct{} // closed when it has ended and all its output is read

	mu     sync.Mutex
	kills  bool // it was killed, or asked to kill itself
	frozen bool
	thawed bool // it was frozen once
}

// starter starts processes on one thread that never ends: to the kernel, a
// child's parent dies when the thread that started the child does.
var starter = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range starts {
			f()
		}
	}()
	return starts
})

// spawn starts a child. Its replies go to hear, in order, and to p.replies if
// hear returns false.
func spawn(program string, p *process, o child.Order, hear func(child.Reply) bool) error {
	p.ready, p.ended = make(chan struct{}), make(chan struct{})
	p.replies = make(chan child.Reply, 16)
	p.cmd = exec.Command(program)
	p.cmd.Stderr = &p.stderr
	// Crashes are intended: one goroutine's trace is enough.
	p.cmd.Env = append(os.Environ(), "GOTRACEBACK=single")
	killOnParentExit(p.cmd)
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.stdin, p.orders = stdin, json.NewEncoder(stdin)
	started := make(chan error)
	starter() <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	go func() {
		defer close(p.ended)
		defer func() { _ = p.cmd.Wait() }() // how it ended is in ProcessState
		defer close(p.replies)
		p.listen(stdout, hear)
	}()
	err = p.orders.Encode(o)
	if err != nil && !p.over() {
		return fmt.Errorf("order to child %d: %w", p.number, err)
	}
	return nil
}

// listen reads the child's replies until its output ends, after its death: what
// it wrote before stays in the pipe.
func (p *process) listen(stdout io.Reader, hear func(child.Reply) bool) {
	said := json.NewDecoder(stdout)
	for {
		var r child.Reply
		if err := said.Decode(&r); err != nil {
			_, _ = io.Copy(io.Discard, stdout)
			return
		}
		switch {
		case r.Ready:
			close(p.ready)
		case hear == nil || !hear(r):
			p.replies <- r
		}
	}
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) hasBegun() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// begun waits until the child has begun.
func (p *process) begun() {
	select {
	case <-p.ready:
	case <-p.ended:
		check(p.failure())
	case <-p.ctx.Done():
		check(p.ctx.Err())
	case <-time.After(patience):
		check(fmt.Errorf("child %d (%s) does not begin", p.number, p.driver))
	}
}

// failure describes how a child ended that should not have ended.
func (p *process) failure() error {
	text := strings.TrimSpace(p.stderr.String())
	if len(text) > 2000 {
		text = text[:2000] + " …"
	}
	return fmt.Errorf("child %d (%s) ended: %v: %s", p.number, p.driver, p.cmd.ProcessState, text)
}

// trySignal sends a signal to a child that has not been waited for.
func (p *process) trySignal(s os.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (p *process) signal(s os.Signal) { check(p.trySignal(s)) }

// tryKill kills the child as kill -9 does and waits for its end.
func (p *process) tryKill() error {
	p.mu.Lock()
	p.kills = true
	p.mu.Unlock()
	if err := p.trySignal(os.Kill); err != nil {
		return err
	}
	p.stdin.Close()
	<-p.ended
	return nil
}

func (p *process) kill() { check(p.tryKill()) }

// freeze stops the child where it is, thaw lets it go on.
func (p *process) freeze() {
	p.mu.Lock()
	p.frozen, p.thawed = true, true
	p.mu.Unlock()
	p.signal(sigStop)
}

func (p *process) thaw() { check(p.tryThaw()) }

func (p *process) tryThaw() error {
	p.mu.Lock()
	p.frozen = false
	p.mu.Unlock()
	return p.trySignal(sigCont)
}

// freezeFor stops the child for a while, whatever the test does meanwhile: a
// child that was stopped with the lock holds up all others.
func (p *process) freezeFor(d time.Duration) {
	time.AfterFunc(d, func() {
		if !p.over() {
			_ = p.tryThaw() // it has ended meanwhile, or is killed at the end
		}
	})
	p.freeze()
}

// died reports whether the child was killed or failed.
func (p *process) died() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kills || p.over() && !p.cmd.ProcessState.Success()
}

// send sends a command.
func (p *process) send(c child.Command) { check(p.trySend(c)) }

func (p *process) trySend(c child.Command) error {
	if err := p.orders.Encode(c); err != nil {
		return fmt.Errorf("%s: %w", c.Op, errors.Join(err, p.why()))
	}
	return nil
}

// ask sends a command and returns the reply.
func (p *process) ask(c child.Command) child.Reply { return must(p.tryAsk(c)) }

func (p *process) tryAsk(c child.Command) (child.Reply, error) {
	if err := p.trySend(c); err != nil {
		return child.Reply{}, err
	}
	r, err := p.reply(patience + c.For)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.Op, err)
	}
	return r, err
}

// reply waits for a reply.
func (p *process) reply(within time.Duration) (child.Reply, error) {
	select {
	case r, ok := <-p.replies:
		switch {
		case !ok:
			return r, p.why()
		case r.Error != "":
			return r, fmt.Errorf("child %d (%s): %s", p.number, p.driver, r.Error)
		}
		return r, nil
	case <-p.ctx.Done():
		return child.Reply{}, p.ctx.Err()
	case <-time.After(within):
		return child.Reply{}, fmt.Errorf("child %d (%s) does not answer: %w", p.number, p.driver, errSilent)
	}
}

// errSilent is the error of a child that does not answer in time.
var errSilent = errors.New("it hangs")

func (p *process) why() error {
	select {
	case <-p.ended:
		return p.failure()
	case <-time.After(5 * time.Second):
		return errSilent
	}
}

// stop asks the child to end, and waits until it has.
func (p *process) stop() {
	_ = p.orders.Encode(child.Command{Op: child.OpStop}) // it may have ended
	check(p.wait())
}

// wait waits until the child ends, and returns an error if it fails.
func (p *process) wait() error {
	select {
	case <-p.ended:
		if !p.cmd.ProcessState.Success() {
			return p.failure()
		}
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("child %d (%s) does not end", p.number, p.driver)
	}
}
