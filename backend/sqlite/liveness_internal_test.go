package sqlite

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// show makes a presence.
func show(t *testing.T, dir string) (*livenessLock, string) {
	t.Helper()
	p := &livenessLock{dir: dir, log: slog.New(slog.DiscardHandler)}
	shown := p.acquire()
	if shown == "" {
		t.Skip("there is no presence on this system")
	}
	t.Cleanup(p.close)
	return p, shown
}

// presenceFile returns the file that a presence is about.
func presenceFile(dir, shown string) string {
	return filepath.Join(dir, shown[strings.LastIndexByte(shown, '|')+1:])
}

// ended reports whether it is certain that who has shown this has ended.
func ended(dir, shown string) bool {
	watcher := livenessLock{dir: dir}
	n := watcher.openPeer(livenessOwner{1, shown})
	defer n.close()
	return n != nil && n.processEnded()
}

// A process has ended if its lock can be taken, but not if it gave the lock up:
// its store was closed, and its handlers may still run.
func TestPresence(t *testing.T) {
	dir := t.TempDir()
	p, shown := show(t, dir)
	if ended(dir, shown) {
		t.Error("a process that lives has ended")
	}
	p.file.Close()
	if !ended(dir, shown) {
		t.Error("a process whose lock is gone has not ended")
	}
	if other := "other" + shown; ended(dir, other) {
		t.Error("a process since before a reboot has ended")
	}

	p, shown = show(t, dir)
	path := presenceFile(dir, shown)
	n := (&livenessLock{dir: dir}).openPeer(livenessOwner{1, shown})
	defer n.close()
	// As where a file that is open cannot be removed.
	if err := os.Link(path, path+".kept"); err != nil {
		t.Skip(err)
	}
	p.close()
	if err := os.Rename(path+".kept", path); err != nil {
		t.Fatal(err)
	}
	if ended(dir, shown) || n.processEnded() {
		t.Error("a process that gave its lock up has ended")
	}
}

// One that cannot mark its file as given up keeps it.
func TestPresenceThatCannotBeGivenUp(t *testing.T) {
	dir := t.TempDir()
	p, shown := show(t, dir)
	locked := p.file
	defer locked.Close()
	f, err := os.Open(presenceFile(dir, shown)) // for reading only
	if err != nil {
		t.Fatal(err)
	}
	p.file = f
	p.close()
	if _, err := f.Stat(); err != nil {
		t.Errorf("the file was closed without the mark: %v", err)
	}
	if _, ok := kept.LoadAndDelete(f); !ok {
		t.Error("nobody keeps the file")
	}
	f.Close()
}

// Files are swept that nobody has used for a day, and not those of processes
// that ran for longer: who starts after them is to find out that they died.
func TestPresenceOfLongAgo(t *testing.T) {
	dir := t.TempDir()
	old, gone := show(t, dir)
	lives, shown := show(t, dir)
	yesterday := time.Now().Add(-staleFileAge - time.Hour)
	for _, p := range []*livenessLock{old, lives} {
		if err := os.Chtimes(p.file.Name(), yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
		p.touched = yesterday
	}
	if got := lives.acquire(); got != shown {
		t.Fatalf("a presence was %q and is %q", shown, got)
	}
	old.file.Close()
	lives.file.Close()
	show(t, dir)
	if _, err := os.Stat(presenceFile(dir, gone)); !os.IsNotExist(err) {
		t.Errorf("a file that was not used for a day is still there: %v", err)
	}
	if !ended(dir, shown) {
		t.Error("the end of a process that ran for a day is not seen")
	}
}

// Workers whose end cannot be known hide nobody behind them.
func TestNextPresence(t *testing.T) {
	dir := t.TempDir()
	_, first := show(t, dir)
	closes, second := show(t, dir)
	p := &livenessLock{dir: dir}
	ring := []livenessOwner{{3, "before|a|reboot" + lockFileSuffix}, {5, strings.Replace(first, "|", "|0", 1)}, {7, second}, {1, first}}
	n := p.nextPeer(ring, nil)
	if n == nil || n.id != 7 {
		t.Fatalf("the neighbour is %+v, want 7", n)
	}
	if again := p.nextPeer(ring, n); again != n {
		t.Errorf("the same ring changes the neighbour to %+v", again)
	}
	closes.close() // and its row stays for a while
	if n = p.nextPeer(ring, n); n == nil || n.id != 1 {
		t.Fatalf("the neighbour is %+v after that has closed its store, want 1", n)
	}
	if n = p.nextPeer(append([]livenessOwner{{6, first}}, ring...), n); n == nil || n.id != 6 {
		t.Errorf("the neighbour is %+v after one came that is nearer, want 6", n)
	}
	if n = p.nextPeer(ring[:2], n); n != nil {
		t.Errorf("the neighbour is %+v, want none", n)
	}
}

// Where it is not known what a lock means there is no presence, and somebody
// says so.
func TestNoPresence(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the file system of /proc is of Linux")
	}
	if err := local("/proc"); err == nil {
		t.Error("/proc is a local file system")
	}
	var said strings.Builder
	p := &livenessLock{dir: filepath.Join(t.TempDir(), "not", "there"), log: slog.New(slog.NewTextHandler(&said, nil))}
	if got := p.acquire(); got != "" || !strings.Contains(said.String(), "no such file") {
		t.Errorf("without a directory %q is shown, and the log says %q", got, &said)
	}
}
