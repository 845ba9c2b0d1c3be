package torture

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// calls are the system calls that fail, and how.
var calls = []struct{ name, errno string }{
	{"pwrite64", "EIO"}, {"pwrite64", "ENOSPC"}, {"pread64", "EIO"}, {"fdatasync", "EIO"}, {"fsync", "EIO"},
	{"ftruncate", "EIO"}, {"openat", "EIO"}, {"fallocate", "ENOSPC"},
}

// sweepCalls has system calls of children fail.
func (e *enduring) sweepCalls(ctx context.Context) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return &Skip{"strace, which makes system calls fail, is not there"}
	}
	told := time.Now()
	for _, c := range calls {
		for _, forever := range []bool{false, true} {
			k, stride := 1, 1
			if e.Short { // one of each kind
				k = 1 + e.random.IntN(max(1, e.Rounds/4))
				stride = e.Rounds
			}
			clean := false
			for ; k <= e.Rounds && e.more(ctx); k += stride {
				hit, err := e.trace(ctx, c.name, c.errno, k, forever)
				if err != nil {
					return err
				}
				if clean = !hit; clean {
					break
				}
				e.kmax["strace"] = max(e.kmax["strace"], k)
				if time.Since(told) > 10*time.Second {
					told = time.Now()
					e.progress("%s: k = %d; %d runs", c.name, k, e.runs)
				}
			}
			if !clean {
				e.cut++
			}
		}
	}
	return ctx.Err()
}

// trace has the k-th of a system call of each thread of a child fail, and
// reports whether any did. The child is traced from when it has begun, and is
// ours, so that it ends with us as the others do.
func (e *enduring) trace(ctx context.Context, name, errno string, k int, forever bool) (hit bool, err error) {
	user, err := e.rig.server(ctx)
	if err != nil {
		return false, err
	}
	when := strconv.Itoa(k)
	if forever {
		when += "+"
	}
	what := fmt.Sprintf("%s:error=%s:when=%s", name, errno, when)
	t, err := attach(user, what, filepath.Join(e.dir, "trace"))
	if err != nil {
		return false, err
	}
	e.paths++
	path := filepath.Join(e.dir, fmt.Sprintf("endure%d.db", e.paths))
	reply, err := user.ask(ctx, child.Command{Op: child.OpEndure, Path: path, Where: child.DiskReal, Fault: child.DiskFault{Forever: forever}})
	if killErr := user.kill(); err == nil {
		err = killErr
	}
	hit = t.end()
	if err != nil {
		if ctx.Err() == nil { // it died, or does not answer
			e.hangs++
			e.result.faultf("%s: %v", what, err)
			return hit, nil
		}
		return hit, err
	}
	if hit {
		e.tracedHits++
		reply.Endure.Struck = 1
	}
	return hit, e.judge(ctx, path, child.DiskReal, what, reply.Endure)
}

// A tracer is a strace at a child. It ends when the child does.
type tracer struct {
	cmd    *exec.Cmd
	output string
	said   chan struct{} // closed when its stderr has ended
}

// attach starts a strace and returns when all threads are traced.
func attach(p *process, inject, output string) (*tracer, error) {
	name, _, _ := strings.Cut(inject, ":")
	t := &tracer{output: output, said: make(chan struct{})}
	t.cmd = exec.Command("strace", "-f", "-o", output, "-e", "trace="+name, "-e", "inject="+inject, "-p", strconv.Itoa(p.cmd.Process.Pid))
	killOnParentExit(t.cmd)
	stderr, err := t.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	starter() <- func() { started <- t.cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadString('\n')
	go func() {
		defer close(t.said)
		_, _ = io.Copy(io.Discard, lines)
	}()
	if err != nil || !strings.Contains(line, "attached") {
		t.end()
		return nil, &Skip{"strace cannot trace: " + strings.TrimSpace(line)}
	}
	return t, nil
}

// end waits for the end of the strace and reports whether anything failed.
func (t *tracer) end() bool {
	select {
	case <-t.said:
	case <-time.After(10 * time.Second):
		_ = t.cmd.Process.Kill() // of a child that goes on
		<-t.said
	}
	_ = t.cmd.Wait() // how it ended does not matter
	text, err := os.ReadFile(t.output)
	return err == nil && bytes.Contains(text, []byte("(INJECTED)"))
}
