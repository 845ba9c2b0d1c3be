package sqlitetest

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// openVariable makes the test's binary open the named database and print the result.
const openVariable = "PLAINJOBS_TEST_OPEN"

func openInChild(path string, open Open) {
	fmt.Println("opening")
	b, err := open(path, nil)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("opened")
	if err := b.Close(); err != nil {
		fmt.Println("error:", err)
	}
}

// startChild starts the test's binary with a variable that names a database, and
// waits for a line with a prefix. It returns what kills the process, and the rest of
// the line.
func startChild(t *testing.T, variable, path, prefix string, prepare ...func(*exec.Cmd)) (kill func(), rest string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	for _, f := range prepare {
		f(cmd)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	rest, ok := strings.CutPrefix(lines.Text(), prefix)
	if !ok {
		t.Fatalf("the child printed %q", lines.Text())
	}
	return kill, rest
}

// testOpenInterrupted kills processes while they create a database. The next one must
// complete it.
func (d driver) testOpenInterrupted(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		path := filepath.Join(dir, fmt.Sprint(i%3, ".db"))
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), openVariable+"="+path)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		lines.Scan() // "opening"
		// Anywhere from before the first write to after the last.
		timer := time.AfterFunc(rand.N(15*time.Millisecond), func() { _ = cmd.Process.Kill() })
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
		timer.Stop()
	}
	for i := range 3 {
		b := mustOpen(t, d.open, filepath.Join(dir, fmt.Sprint(i, ".db")), nil)
		push(t, b, "a")
		if n := count(t, b); n != 1 {
			t.Errorf("database %d has %d jobs, want 1", i, n)
		}
	}
}

// testReadOnly opens read-only files. Root may write to every file, so the test runs as
// another user where it can.
func (d driver) testReadOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes do not bind on Windows")
	}
	// The other user must reach the files and the test's binary.
	dir, err := os.MkdirTemp("", "plainjobs") //nolint:usetesting // t.TempDir is below a directory that other users may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary := filepath.Join(dir, "test")
	if err := copyFile(os.Args[0], binary); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "jobs.db")
	b, err := d.open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, dir, binary} {
		mode := os.FileMode(0o555)
		if name == path {
			mode = 0o444
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]*regexp.Regexp{
		path:                         regexp.MustCompile("read-only|permission denied"),
		filepath.Join(dir, "new.db"): regexp.MustCompile("permission denied"),
	} {
		cmd := exec.Command(binary, "-test.run=^$")
		cmd.Env = append(os.Environ(), openVariable+"="+name)
		asOtherUser(cmd)
		out, err := cmd.CombinedOutput()
		if err != nil || !want.Match(out) {
			t.Errorf("Open(%s) said %q, %v; want %q", filepath.Base(name), out, err, want)
		}
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o700)
}
