package worker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/worker"
)

// childVariable makes the test's binary a worker on the database that it
// names; the ledger is a file next to it with a line for each run, and the log
// another.
const childVariable = "PLAINJOBS_TEST_CHILD"

// pairVariable makes the child two workers, one for each job.
const pairVariable = "PLAINJOBS_TEST_PAIR"

// leaseVariable gives the child the default lease.
const leaseVariable = "PLAINJOBS_TEST_DEFAULT_LEASE"

// crashLease is short, so that the jobs of killed workers come back soon, and
// long enough for a busy machine: workers with late heartbeats judge no other.
const crashLease = 2 * time.Second

// killerJob kills its process and soon fails for it.
var killerJob = plainjobs.Declare[string]("life/killer", plainjobs.MaxCrashes(2))

func child() {
	path := os.Getenv(childVariable)
	ledger, err := os.OpenFile(path+".ledger", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	check(err)
	log, err := os.OpenFile(path+".log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	check(err)
	b, err := modernc.Open(path, nil)
	check(err)
	q := plainjobs.New(b, nil)
	others := make(chan struct{}) // closed when a job of the other worker runs
	plainjobs.Handle(q, jobB, func(ctx context.Context, _ string) error {
		close(others)
		if i, _ := plainjobs.FromContext(ctx); i.Suspect {
			time.Sleep(time.Second) // this one lives, if it is left in peace
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	plainjobs.Handle(q, killerJob, func(context.Context, string) error {
		time.Sleep(20 * time.Millisecond) // others start meanwhile
		os.Exit(statusPoison)
		return nil
	})
	plainjobs.Handle(q, jobA, func(ctx context.Context, s string) error {
		i, _ := plainjobs.FromContext(ctx)
		// One write for one run, so that it survives what comes next.
		if _, err := fmt.Fprintf(ledger, "%d %d\n", i.ID, i.Attempt); err != nil {
			return err
		}
		switch s {
		case "poison":
			os.Exit(statusPoison)
		case "poison next to another":
			select {
			case <-others:
			case <-time.After(500 * time.Millisecond): // it need not run
			}
			os.Exit(statusPoison)
		case "hangs":
			if i.Suspect {
				return nil // this one lives
			}
			<-ctx.Done()
			return ctx.Err()
		case "long": // a killer would end it if one ran next to it
			time.Sleep(300 * time.Millisecond)
		case "slow": // a job takes a while, so that kills find some running
			time.Sleep(2 * time.Millisecond)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	lease := crashLease
	if os.Getenv(leaseVariable) != "" {
		lease = 0 // the default
	}
	work := func(jobs ...plainjobs.AnyJob) {
		check(worker.New(q, &worker.Options{
			Jobs: jobs, Concurrency: 4, Lease: lease, Logger: slog.New(slog.NewTextHandler(log, nil)),
		}).Run(ctx))
	}
	var other sync.WaitGroup
	if os.Getenv(pairVariable) != "" {
		other.Go(func() { work(jobB) })
	}
	work(jobA, killerJob)
	other.Wait()
	check(q.Close())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A process is a worker process.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when it has; err is set then
	err   error
}

func spawn(t *testing.T, path string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], "-test.run=^$"), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childVariable+"="+path)
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { // of a test that failed
		stdin.Close()
		<-p.ended
	})
	return p
}

// statusPoison is how a process ends that a poison job takes down.
const statusPoison = 3

// poisoned fails the test if the process has ended in any other way: one that
// cannot work would be started again and again.
func (p *process) poisoned(t *testing.T) {
	t.Helper()
	if status := p.cmd.ProcessState.ExitCode(); status != statusPoison {
		t.Fatalf("a worker process ended by itself: %v", p.err)
	}
}

// end lets the process stop by itself.
func (p *process) end(t *testing.T) {
	t.Helper()
	p.stdin.Close()
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("worker process: %v", p.err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a worker process does not end")
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// readLedger returns how often each job ran.
func readLedger(t *testing.T, path string) map[int64]int {
	t.Helper()
	f, err := os.Open(path + ".ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runs := map[int64]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var id int64
		var attempt int
		if _, err := fmt.Sscan(lines.Text(), &id, &attempt); err != nil {
			t.Fatalf("ledger line %q: %v", lines.Text(), err)
		}
		if attempt != 1 {
			t.Errorf("job %d ran in attempt %d: a crash spent one", id, attempt)
		}
		runs[id]++
	}
	return runs
}
