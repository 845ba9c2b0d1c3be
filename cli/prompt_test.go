package cli

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// An interrupted command says so. Its exit status tells the signal.
func TestInterrupted(t *testing.T) {
	for sig, status := range map[os.Signal]int{os.Interrupt: 130, syscall.SIGTERM: 143} {
		w := newWorld(t)
		ignored := make(chan struct{})
		notify := w.notify
		w.notify = func(c chan<- os.Signal, _ ...os.Signal) func() {
			stop := notify(c)
			return func() {
				stop()
				select {
				case <-ignored:
				default:
					close(ignored)
				}
			}
		}
		p := w.start(t, "perform", "sum", "[1]", "--wait")
		eventually(t, "the job", func() bool { return strings.HasPrefix(w.run("jobs", "--count").out, "1") })
		w.signals <- sig
		<-ignored // a second signal would end the process
		p.wait(t, status)
		if !strings.Contains(p.err.String(), "interrupted; job #1 stays in the queue") {
			t.Errorf("after %v it printed %s", sig, p.err.String())
		}
	}
}

// Answers to a prompt: no, none, an interrupt and yes.
func TestPrompt(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	w.tty = true
	for _, answer := range []string{"n\n", "\n", ""} {
		w.stdin = strings.NewReader(answer)
		got := w.must(t, 1, "retry", "--all")
		if !strings.Contains(got.err, "retry 1 job (failed)? [y/N] ") || !strings.Contains(got.err, "nothing has changed") {
			t.Errorf("after %q it printed %q", answer, got.err)
		}
	}
	in, out := io.Pipe()
	w.stdin = in
	p := w.start(t, "delete", "--all", "--state", "any")
	eventually(t, "the question", func() bool {
		return strings.Contains(p.err.String(), "delete 7 jobs (scheduled, blocked, pending, done, failed or cancelled)? [y/N] ")
	})
	w.signals <- os.Interrupt
	p.wait(t, 130)
	if !strings.Contains(p.err.String(), "interrupted; nothing has changed") {
		t.Errorf("it printed %s", p.err.String())
	}
	out.Close()
	if got := w.must(t, 0, "jobs", "--count").out; got != "8\n" {
		t.Errorf("%s jobs are left", got)
	}
	w.stdin = strings.NewReader("y\n")
	w.must(t, 0, "retry", "--all", "--priority", "-10")
	if got := w.must(t, 0, "jobs", "--count", "--state", "failed").out; got != "0\n" {
		t.Errorf("%s failed jobs are left", got)
	}
	if got := w.must(t, 0, "jobs", "--state", "pending", "--json").out; !strings.Contains(got, `"priority":-10`) {
		t.Errorf("no job has the priority of the retry:\n%s", got)
	}
}
