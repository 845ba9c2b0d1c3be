//go:build unix

package sqlitetest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// waitVariable makes the test's binary wait for jobs in the named database, claim them
// and print when.
const waitVariable = "PLAINJOBS_TEST_WAIT"

func waitInChild(path string, open Open) {
	b, err := open(path, nil)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	ctx := context.Background()
	req := backend.ClaimRequest{
		Worker:   backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "test", PID: os.Getpid(), Lease: time.Hour},
		Register: true, Names: []string{"a"}, Limit: 1,
	}
	if _, err := b.Claim(ctx, req); err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("waiting")
	for {
		if err := b.Wait(ctx, req); err != nil {
			fmt.Println("error:", err)
			return
		}
		jobs, err := b.Claim(ctx, req)
		if err != nil {
			fmt.Println("error:", err)
			return
		}
		for _, j := range jobs {
			fmt.Println("claimed", j.ID, time.Now().UnixNano())
		}
	}
}

// A waiting is a process that waits for jobs.
type waiting struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startWaiting(t *testing.T, binary, path string, prepare func(*exec.Cmd)) *waiting {
	t.Helper()
	w := &waiting{cmd: exec.Command(binary, "-test.run=^$")}
	w.cmd.Env = append(os.Environ(), waitVariable+"="+path)
	if prepare != nil {
		prepare(w.cmd)
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.lines = bufio.NewScanner(stdout)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kill)
	if w.lines.Scan(); w.lines.Text() != "waiting" {
		t.Fatalf("the waiting process printed %q", w.lines.Text())
	}
	return w
}

// kill ends the process as a power cut would.
func (w *waiting) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// latency pushes jobs at random times and returns the median time from a commit to the
// claim.
func (w *waiting) latency(t *testing.T, n int, push func() (id int64, err error)) time.Duration {
	t.Helper()
	var all []time.Duration
	for range n {
		time.Sleep(20*time.Millisecond + rand.N(100*time.Millisecond))
		id, err := push()
		at := time.Now()
		if err != nil {
			t.Fatal(err)
		}
		if !w.lines.Scan() {
			t.Fatal("the waiting process has ended")
		}
		var claimed, nanos int64
		if _, err := fmt.Sscanf(w.lines.Text(), "claimed %d %d", &claimed, &nanos); err != nil || claimed != id {
			t.Fatalf("the waiting process printed %q, want a claim of %d", w.lines.Text(), id)
		}
		all = append(all, time.Unix(0, nanos).Sub(at))
	}
	slices.Sort(all)
	return all[n/2]
}

// bySignal bounds the median latency with signals. Polling every 150 ms takes longer.
const bySignal = 20 * time.Millisecond

// wantBySignal fails if jobs that b pushes are claimed as late as by polling.
func (w *waiting) wantBySignal(t *testing.T, what string, b *sqlite.Backend) {
	t.Helper()
	w.wantSoon(t, what, pusher(b))
}

func pusher(b *sqlite.Backend) func() (id int64, err error) {
	return func() (int64, error) {
		pushed, err := b.Push(context.Background(), []backend.NewJob{newJob("a")})
		if err != nil {
			return 0, err
		}
		return pushed[0].ID, nil
	}
}

// wantSoon fails if pushed jobs are claimed as late as by polling, several times in
// sequence.
func (w *waiting) wantSoon(t *testing.T, what string, push func() (id int64, err error)) {
	t.Helper()
	var median time.Duration
	for range 4 {
		median = w.latency(t, 15, push)
		t.Logf("%s: %v", what, median)
		if median < bySignal {
			return
		}
	}
	t.Errorf("%s, jobs of another process were claimed after %v, want less than %v", what, median, bySignal)
}

func bells(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path + "-plainjobs")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.Contains(e.Name(), ".") { // neither shows that a process lives, nor is the note of the files
			names = append(names, e.Name())
		}
	}
	return names
}

// testNotifier pushes jobs for workers of other processes.
func (d driver) testNotifier(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "jobs.db")
	b := mustOpen(t, d.open, path, nil)
	first := startWaiting(t, os.Args[0], path, nil)
	first.wantBySignal(t, "at first", b)
	info, err := os.Stat(path + "-plainjobs")
	if err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Fatalf("the directory of the sockets: %v, %v", info.Mode(), err)
	}

	first.kill()
	dead := bells(t, path)
	if len(dead) != 1 {
		t.Fatalf("a process that was killed has left %q, want one socket", dead)
	}
	push(t, b, "b")
	if left := bells(t, path); len(left) != 0 {
		t.Errorf("after a signal to a dead process there is %q", left)
	}

	second := startWaiting(t, os.Args[0], path, nil)
	for range 3000 { // as many that were killed
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{
			Name: fmt.Sprintf("%s-plainjobs/%d-%016x", path, os.Getpid(), rand.Uint64()), Net: "unixgram",
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	// One push signals a bounded number of processes.
	start := time.Now()
	for left := len(bells(t, path)); left > 1 && time.Since(start) < time.Minute; {
		push(t, b, "b")
		before := left
		left = len(bells(t, path))
		if swept := before - left; swept > 64 {
			t.Errorf("a push signalled %d dead processes, want at most 64", swept)
		}
	}
	second.wantBySignal(t, "after thousands have died", b)
	third := startWaiting(t, os.Args[0], path, nil)
	second.kill()
	third.wantBySignal(t, "after another has died", b)

	if err := third.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 50 { // more than its socket holds: none of them waits for it
		push(t, b, "b")
	}
	if err := third.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	third.wantBySignal(t, "after it has slept", b)

	db := pool(t, d.name, path)
	third.wantSoon(t, "pushed in a transaction of the application", func() (int64, error) {
		tx, err := db.BeginTx(context.Background(), nil)
		if err != nil {
			return 0, err
		}
		defer tx.Rollback()
		pushed, err := b.PushTx(context.Background(), tx, []backend.NewJob{newJob("a")})
		if err != nil {
			return 0, err
		}
		return pushed[0].ID, tx.Commit()
	})
}

// testNotifierCloses closes a store in which a call has waited.
func (d driver) testNotifierCloses(t *testing.T) {
	path := filepath.Join(shortDir(t), "jobs.db")
	for range 2 {
		b := mustOpen(t, d.open, path, nil)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		err := b.Wait(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Hour}, Names: []string{"a"}, Limit: 1})
		cancel()
		if err == nil {
			t.Error("Wait without a job returned nil")
		}
		if len(bells(t, path)) != 1 {
			t.Error("there is no socket")
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path + "-plainjobs"); !os.IsNotExist(err) {
			t.Errorf("after Close the directory of the sockets is there: %v", err)
		}
	}
}

// testWithoutNotifier waits where there can be no socket: the store polls.
func (d driver) testWithoutNotifier(t *testing.T) {
	for what, prepare := range map[string]func(dir string) (path string){
		"a path too long for a socket": func(dir string) string {
			dir = filepath.Join(dir, strings.Repeat("long/", 30))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "jobs.db")
		},
		"a file in the directory's place": func(dir string) string {
			path := filepath.Join(dir, "jobs.db")
			if err := os.WriteFile(path+"-plainjobs", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		},
		"a link in the directory's place": func(dir string) string {
			path := filepath.Join(dir, "jobs.db")
			if err := os.Symlink(dir, path+"-plainjobs"); err != nil {
				t.Fatal(err)
			}
			return path
		},
	} {
		t.Run(what, func(t *testing.T) {
			path := prepare(shortDir(t))
			b := mustOpen(t, d.open, path, nil)
			w := startWaiting(t, os.Args[0], path, nil)
			t.Logf("claimed after %v", w.latency(t, 3, pusher(b)))
		})
	}
	t.Run("permission denied", func(t *testing.T) {
		dir := shortDir(t)
		path := filepath.Join(dir, "jobs.db")
		binary := filepath.Join(dir, "test")
		if err := copyFile(os.Args[0], binary); err != nil {
			t.Fatal(err)
		}
		b := mustOpen(t, d.open, path, nil)
		for name, mode := range map[string]os.FileMode{
			dir: 0o777, binary: 0o755, path: 0o666, path + "-wal": 0o666, path + "-shm": 0o666,
		} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(path+"-plainjobs", 0o500); err != nil {
			t.Fatal(err)
		}
		w := startWaiting(t, binary, path, asOtherUser)
		t.Logf("claimed after %v", w.latency(t, 3, pusher(b)))
		if names := bells(t, path); len(names) != 0 {
			t.Errorf("there are %q in a directory that is not writable", names)
		}
		w.kill()
	})
}

// shortDir returns a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pj") //nolint:usetesting // t.TempDir is named after the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
