package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A LivenessLock shows that this process is alive: it holds the lock of a small
// file next to the database. The kernel releases the lock when the process ends,
// however it ends. A process that can lock the file of another one knows that the
// other has ended. (The Windows code is compiled and vetted, but has not run.)
//
// The file is never one of SQLite's, and the lock never a POSIX lock, which any
// close of the file would drop. There is no lock without a side directory or on a
// file system that is not known to be local. A held lock does not prove that the
// process makes progress: a stopped process keeps it.
type LivenessLock struct {
	dir string // empty: no lock

	mu       sync.Mutex
	file     *os.File
	identity string
	touched  time.Time // when the file's time was last set
	tried    bool
}

// lockFileSuffix is the suffix of the locked files.
const lockFileSuffix = ".alive"

// NewLivenessLock returns the lock of a process that uses the database at path. It
// never locks anything if path is empty.
func NewLivenessLock(path string) *LivenessLock {
	p := &LivenessLock{}
	if path != "" {
		p.dir = SideDir(path)
	}
	return p
}

// Acquire creates and locks the file on its first call. It returns an identity by
// which other processes find the file: the boot ID, the file's device and inode,
// and its name. The identity is empty if there is no lock; the first call says why.
func (p *LivenessLock) Acquire() (identity string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil && time.Since(p.touched) > refreshInterval {
		p.refreshFile()
	}
	if p.tried || p.dir == "" {
		return p.identity, nil
	}
	p.tried = true
	if err := p.createAndLock(); err != nil {
		return "", err
	}
	p.removeStaleFiles()
	return p.identity, nil
}

// createAndLock creates the file and locks it. The caller holds mu.
func (p *LivenessLock) createAndLock() error {
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("the boot ID of the system is not known: %w", err)
	}
	f, err := p.create()
	if err != nil {
		return err
	}
	id, err := identify(f)
	if err == nil {
		err = p.lock(f)
	}
	if err != nil {
		f.Close()
		return errors.Join(err, os.Remove(f.Name()))
	}
	p.file, p.identity = f, strings.Join([]string{boot, id, filepath.Base(f.Name())}, "|")
	p.refreshFile()
	return nil
}

// create creates the file. It retries because the last process to leave removes
// the directory.
func (p *LivenessLock) create() (f *os.File, err error) {
	for range 3 {
		if err = MakeSideDir(p.dir); err == nil {
			f, err = os.OpenFile(filepath.Join(p.dir, rand.Text()+lockFileSuffix), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		}
		if err == nil {
			break
		}
	}
	return f, err
}

// lock locks the file and checks that the lock excludes others.
func (p *LivenessLock) lock(f *os.File) error {
	if err := local(p.dir); err != nil {
		return err
	}
	if !tryLock(f) {
		return fmt.Errorf("%s cannot be locked", f.Name())
	}
	other, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer other.Close()
	if tryLock(other) {
		return fmt.Errorf("the file system of %s grants a lock twice", p.dir)
	}
	return nil
}

const (
	// staleFileAge is the age at which an unlocked file is removed. No process
	// will look for it: its own has not refreshed it for so long, and is gone.
	staleFileAge = 24 * time.Hour
	// refreshInterval is how often a process refreshes its file's time.
	refreshInterval = time.Hour
)

// refreshFile sets the file's time. The caller holds mu.
func (p *LivenessLock) refreshFile() {
	p.touched = time.Now()
	_ = os.Chtimes(p.file.Name(), p.touched, p.touched)
}

// removeStaleFiles removes the files of processes that ended long ago.
func (p *LivenessLock) removeStaleFiles() {
	entries, _ := os.ReadDir(p.dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), lockFileSuffix) || time.Since(info.ModTime()) < staleFileAge {
			continue
		}
		path := filepath.Join(p.dir, e.Name())
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			if tryLock(f) {
				_ = os.Remove(path)
			}
			f.Close()
		}
	}
}

// keptFiles stay open, and so locked, although their locks are closed.
var keptFiles sync.Map

// Close releases the lock and removes the file. It first marks the file, so that
// processes that wait for the lock do not take this process for dead. If the mark
// cannot be written, the file stays locked until the process ends.
func (p *LivenessLock) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried, p.identity = true, ""
	if p.file == nil {
		return
	}
	name := p.file.Name()
	if p.file.Truncate(1) != nil {
		keptFiles.Store(p.file, true)
		p.file = nil
		return
	}
	_ = os.Remove(name)
	p.file.Close()
	_ = os.Remove(name) // where an open file cannot be removed
	p.file = nil
	_ = os.Remove(p.dir) // fails unless it is empty
}

// Look reports whether the process with an identity has certainly ended, or is
// certainly alive. Both are false if neither is certain.
func (p *LivenessLock) Look(identity string) (ended, alive bool) {
	p.mu.Lock()
	own := p.identity != "" && p.identity == identity
	p.mu.Unlock()
	if own {
		return false, true
	}
	peer := p.Open(identity)
	if peer == nil {
		return false, false
	}
	defer peer.Close()
	ended = peer.Ended()
	return ended, !ended && !peer.Released()
}

// Remove removes the file of a process that has ended.
func (p *LivenessLock) Remove(identity string) {
	if i := strings.LastIndexByte(identity, '|'); i >= 0 && p.dir != "" {
		if name := identity[i+1:]; name == filepath.Base(name) && strings.HasSuffix(name, lockFileSuffix) {
			_ = os.Remove(filepath.Join(p.dir, name))
		}
	}
}

// A Peer is another process whose end can be detected.
type Peer struct {
	file   *os.File // not locked by this process
	closed <-chan struct{}
	stop   func()
}

// Open returns the process with an identity, or nil if its end cannot be detected:
// it runs on another host, it ran before a reboot, or its file is gone. The process
// removes the file when it closes its lock, and others may remove it, too.
func (p *LivenessLock) Open(identity string) *Peer {
	boot, rest, _ := strings.Cut(identity, "|")
	file, name, ok := strings.Cut(rest, "|")
	if !ok || p.dir == "" || name != filepath.Base(name) {
		return nil
	}
	if own, err := bootID(); err != nil || own != boot {
		return nil
	}
	path := filepath.Join(p.dir, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	if found, err := identify(f); err != nil || found != file {
		f.Close()
		return nil
	}
	n := &Peer{file: f}
	n.closed, n.stop = watchClosing(path)
	return n
}

// Closed returns a channel that receives a value when the process may have ended or
// released its lock. It is nil where the system sends no notification.
func (n *Peer) Closed() <-chan struct{} { return n.closed }

// Ended reports whether the process has certainly ended. Several processes may find
// that out at the same time.
func (n *Peer) Ended() bool { return tryShare(n.file) && !n.Released() }

// Released reports whether the process has closed its lock, so that its end can no
// longer be detected.
func (n *Peer) Released() bool {
	info, err := n.file.Stat()
	return err != nil || info.Size() > 0
}

// Close ends the observation. It may be called on nil.
func (n *Peer) Close() {
	if n != nil {
		n.stop()
		n.file.Close()
	}
}
