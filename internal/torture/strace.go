package torture

import (
	"bufio"
	"bytes"
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

// calls are the system calls that fail, and with which error.
var calls = []struct{ name, errno string }{
	{"pwrite64", "EIO"}, {"pwrite64", "ENOSPC"}, {"pread64", "EIO"}, {"fdatasync", "EIO"}, {"fsync", "EIO"},
	{"ftruncate", "EIO"}, {"openat", "EIO"}, {"fallocate", "ENOSPC"},
}

// sweepCalls makes system calls of children fail.
func (e *diskTest) sweepCalls() {
	if _, err := exec.LookPath("strace"); err != nil {
		check(&Skip{"strace, which makes system calls fail, is not installed"})
	}
	for _, c := range calls {
		for _, forever := range []bool{false, true} {
			k, stride := 1, 1
			if e.Short { // one of each kind
				k = 1 + e.random.IntN(max(1, e.Rounds/4))
				stride = e.Rounds
			}
			clean := false
			for ; k <= e.Rounds && e.more(); k += stride {
				if clean = !e.trace(c.name, c.errno, k, forever); clean {
					break
				}
				e.kmax["strace"] = max(e.kmax["strace"], k)
				e.tell("%s: k = %d; %d runs", c.name, k, e.runs)
			}
			if !clean {
				e.cut++
			}
		}
	}
	check(e.ctx.Err())
}

// trace makes the k-th call of a system call fail in each thread of a child,
// and reports whether any failed. The child is traced once it has begun: strace
// does not start it, so it ends with this process as other children do.
func (e *diskTest) trace(name, errno string, k int, forever bool) (hit bool) {
	user := e.rig.server()
	when := strconv.Itoa(k)
	if forever {
		when += "+"
	}
	what := fmt.Sprintf("%s:error=%s:when=%s", name, errno, when)
	t := attach(user, what, filepath.Join(e.dir, "trace"))
	path := e.newPath()
	reply, err := user.tryAsk(child.Command{Op: child.OpFaultyDisk, Path: path, Where: child.DiskReal, Fault: child.DiskFault{Forever: forever}})
	user.kill()
	hit = t.end()
	if err != nil { // it died, or does not answer
		check(e.ctx.Err())
		e.hangs++
		e.result.faultf("%s: %v", what, err)
		return hit
	}
	if hit {
		e.tracedHits++
		reply.Endure.Struck = 1
	}
	e.judge(path, child.DiskReal, what, reply.Endure)
	return hit
}

// A tracer is an strace of a child. It ends when the child does.
type tracer struct {
	cmd    *exec.Cmd
	output string
	said   chan struct{} // closed when its stderr has ended
}

// attach starts an strace and returns when it traces all threads.
func attach(p *process, inject, output string) *tracer {
	name, _, _ := strings.Cut(inject, ":")
	t := &tracer{output: output, said: make(chan struct{})}
	t.cmd = exec.Command("strace", "-f", "-o", output, "-e", "trace="+name, "-e", "inject="+inject, "-p", strconv.Itoa(p.cmd.Process.Pid))
	killOnParentExit(t.cmd)
	stderr := must(t.cmd.StderrPipe())
	started := make(chan error)
	starter() <- func() { started <- t.cmd.Start() }
	check(<-started)
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadString('\n')
	go func() {
		defer close(t.said)
		_, _ = io.Copy(io.Discard, lines)
	}()
	if err != nil || !strings.Contains(line, "attached") {
		t.end()
		check(&Skip{"strace cannot trace: " + strings.TrimSpace(line)})
	}
	return t
}

// end waits until the strace ends, and reports whether it made any call fail.
func (t *tracer) end() bool {
	select {
	case <-t.said:
	case <-time.After(10 * time.Second):
		_ = t.cmd.Process.Kill() // the child goes on
		<-t.said
	}
	_ = t.cmd.Wait() // its status does not matter
	text, err := os.ReadFile(t.output)
	return err == nil && bytes.Contains(text, []byte("(INJECTED)"))
}
