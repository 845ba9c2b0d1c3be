package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A process has ended if its lock can be taken, but not if it gave the lock up:
// its store was closed, and its handlers may still run.
func TestPresence(t *testing.T) {
	watcher := presence{dir: t.TempDir()}
	ended := func(shown string) bool {
		n := watcher.watch(1, shown)
		defer n.leave()
		return n != nil && n.ended()
	}
	show := func() (*presence, string) {
		p := &presence{dir: watcher.dir}
		shown := p.show()
		if shown == "" {
			t.Skip("there is no presence on this system")
		}
		if ended(shown) {
			t.Error("a process that lives has ended")
		}
		return p, shown
	}
	p, shown := show()
	p.file.Close()
	if !ended(shown) {
		t.Error("a process whose lock is gone has not ended")
	}
	if other := "other" + shown; ended(other) {
		t.Error("a process since before a reboot has ended")
	}

	p, shown = show()
	path := filepath.Join(watcher.dir, shown[strings.LastIndexByte(shown, '|')+1:])
	n := watcher.watch(1, shown)
	defer n.leave()
	// As where a file that is open cannot be removed.
	if err := os.Link(path, path+".kept"); err != nil {
		t.Skip(err)
	}
	p.close()
	if err := os.Rename(path+".kept", path); err != nil {
		t.Fatal(err)
	}
	if ended(shown) || n.ended() {
		t.Error("a process that gave its lock up has ended")
	}
}
