package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A livenessLock shows that this process lives: a small file beside the database
// that it holds locked, with a lock that the system takes off it when it ends,
// in whatever way. Who can lock the file of another knows that it has ended,
// and its jobs run again within a moment instead of at the end of their lease.
// (On Windows this is compiled and vetted, and was not run.)
//
// The file is never one of SQLite's own, and the lock never a POSIX one, which
// any closing of the file would void. Where there can be no such file, or the
// file system is not known to be a local one that keeps locks, and for workers on
// another host or since before a reboot, heartbeats decide alone. A lock that is
// held proves nothing: a stopped process keeps it.
type livenessLock struct {
	dir string // empty: none
	log *slog.Logger

	mu       sync.Mutex
	file     *os.File
	identity string    // what is stored with workers, see show
	touched  time.Time // when the file was last said to be in use
	tried    bool
}

const (
	lockFileSuffix = ".alive"
	// peerPoll is how often a neighbour's presence is looked at where the
	// system does not tell of its end.
	peerPoll = 50 * time.Millisecond
	// peerRefresh is how often the neighbours are looked up.
	peerRefresh = 500 * time.Millisecond
)

// acquire creates and locks the file, the first time, and returns what tells
// others how to look for it: the boot, the file's identity and its name. It is
// empty if there is none.
func (p *livenessLock) acquire() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil && time.Since(p.touched) > refreshInterval {
		p.refreshFile()
	}
	if p.tried || p.dir == "" {
		return p.identity
	}
	p.tried = true
	if err := p.createAndLock(); err != nil {
		p.log.Info("plainjobs: if this process dies, its jobs wait until its lease has ended", "reason", err)
		return ""
	}
	p.removeStaleFiles()
	return p.identity
}

// createAndLock makes the presence. The caller holds mu.
func (p *livenessLock) createAndLock() error {
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("it cannot be told whether the system was started anew: %w", err)
	}
	f, err := p.create()
	if err != nil {
		return err
	}
	id, err := identity(f)
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

// create creates the file.
func (p *livenessLock) create() (f *os.File, err error) {
	for range 3 { // who leaves last removes the directory
		if err = makeSideDir(p.dir); err == nil {
			f, err = os.OpenFile(filepath.Join(p.dir, rand.Text()+lockFileSuffix), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		}
		if err == nil {
			break
		}
	}
	return f, err
}

// lock locks the file, if that keeps others from it.
func (p *livenessLock) lock(f *os.File) error {
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
		return fmt.Errorf("the file system of %s lets everybody lock what is locked", p.dir)
	}
	return nil
}

const (
	// staleFileAge is how old a file is that nobody will ask for any more: its
	// process has not said for so long that it uses it, and is not there.
	staleFileAge = 24 * time.Hour
	// refreshInterval is how often it says so.
	refreshInterval = time.Hour
)

// refreshFile says that the file is in use. The caller holds mu.
func (p *livenessLock) refreshFile() {
	p.touched = time.Now()
	_ = os.Chtimes(p.file.Name(), p.touched, p.touched)
}

// removeStaleFiles removes files of processes that ended long ago and were not missed.
func (p *livenessLock) removeStaleFiles() {
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

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// kept are files that stay locked although their stores are closed.
var kept sync.Map

// close gives the lock up.
func (p *livenessLock) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried, p.identity = true, ""
	if p.file == nil {
		return
	}
	// The mark tells those who wait for the lock that it was given up. Without
	// it the lock is kept until the process ends.
	name := p.file.Name()
	if p.file.Truncate(1) != nil {
		kept.Store(p.file, true)
		p.file = nil
		return
	}
	_ = os.Remove(name)
	p.file.Close()
	_ = os.Remove(name) // where an open file cannot be removed
	p.file = nil
	_ = os.Remove(p.dir) // fails unless it is empty
}

// A peer is a worker whose end somebody waits for.
type peer struct {
	livenessOwner
	file   *os.File        // its presence, not locked
	closed <-chan struct{} // tells that the presence may have been let go, or is nil
	stop   func()
}

// A livenessOwner is a worker that has shown a presence.
type livenessOwner struct {
	id       int64
	identity string
}

// nextPeer returns the first of some workers whose end can be known, or nil. That
// may be the neighbour so far, which else is left.
func (p *livenessLock) nextPeer(ring []livenessOwner, sofar *peer) *peer {
	for _, s := range ring {
		if sofar != nil && s == sofar.livenessOwner && !sofar.lockReleased() {
			return sofar
		}
		if n := p.openPeer(s); n != nil {
			sofar.close()
			return n
		}
	}
	sofar.close()
	return nil
}

// openPeer returns a worker as a neighbour, or nil if it cannot be known when it
// ends: it is of another host, or from before a reboot, or its file is gone,
// which closing removes and anybody else may have.
func (p *livenessLock) openPeer(s livenessOwner) *peer {
	boot, rest, _ := strings.Cut(s.identity, "|")
	which, name, ok := strings.Cut(rest, "|")
	if !ok || p.dir == "" || name != filepath.Base(name) {
		return nil
	}
	if mine, err := bootID(); err != nil || mine != boot {
		return nil
	}
	path := filepath.Join(p.dir, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	if there, err := identity(f); err != nil || there != which {
		f.Close()
		return nil
	}
	n := &peer{livenessOwner: s, file: f}
	n.closed, n.stop = closings(path)
	return n
}

// look reports whether it is certain that a worker's process has ended, or that
// it has not.
func (p *livenessLock) look(s livenessOwner) (ended, present bool) {
	p.mu.Lock()
	mine := p.identity != "" && p.identity == s.identity
	p.mu.Unlock()
	if mine {
		return false, true
	}
	n := p.openPeer(s)
	if n == nil {
		return false, false
	}
	defer n.close()
	ended = n.processEnded()
	return ended, !ended && !n.lockReleased()
}

// processEnded reports whether it is certain that the neighbour's process has ended.
// Several may find that out at once.
func (n *peer) processEnded() bool {
	return tryShare(n.file) && !n.lockReleased()
}

// lockReleased reports whether the neighbour has closed its store, so that it cannot be
// known any more when its process ends.
func (n *peer) lockReleased() bool {
	info, err := n.file.Stat()
	return err != nil || info.Size() > 0
}

func (n *peer) close() {
	if n != nil {
		n.stop()
		n.file.Close()
	}
}

// removeLockFile removes the file of a worker that was rescued from.
func (p *livenessLock) removeLockFile(shown string) {
	if i := strings.LastIndexByte(shown, '|'); i >= 0 && p.dir != "" {
		if name := shown[i+1:]; name == filepath.Base(name) && strings.HasSuffix(name, lockFileSuffix) {
			_ = os.Remove(filepath.Join(p.dir, name))
		}
	}
}

const selectPeers = `SELECT id, presence FROM plainjobs_workers ORDER BY id`

// WatchDead implements [backend.DeathDetector]. It watches the worker with the next
// higher ID, and the lowest after the highest, of those whose presence can be
// looked for.
func (b *Backend) WatchDead(ctx context.Context, self int64) ([]int64, error) {
	var n *peer
	defer func() { n.close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	looked := time.Time{}
	for {
		if time.Since(looked) >= peerRefresh {
			ring, err := b.peersAfter(ctx, self)
			if err != nil && !busy(err) {
				return nil, failed(ctx, "watch", err)
			}
			if looked = time.Now(); err == nil {
				n = b.livenessLock.nextPeer(ring, n)
			}
		}
		if n != nil && n.processEnded() {
			return b.sameProcess(ctx, n.id, n.identity)
		}
		wait, closed := peerRefresh, (<-chan struct{})(nil)
		if n != nil {
			if closed = n.closed; closed == nil {
				wait = peerPoll
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil, failed(ctx, "watch", ctx.Err())
		case <-closed:
		case <-timer.C:
		}
	}
}

const selectSameProcess = `SELECT id FROM plainjobs_workers WHERE presence = ?`

// sameProcess returns a worker and the others of its process, which have shown the
// same and are forgotten with it.
func (b *Backend) sameProcess(ctx context.Context, id int64, shown string) (all []int64, err error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "watch", err)
	}
	defer leave()
	err = b.read(ctx, func(q queryer) error {
		all = []int64{id}
		return scan(ctx, q, b.sql(selectSameProcess), []any{shown}, func(r *sql.Rows) error {
			var other int64
			err := r.Scan(&other)
			if other != id {
				all = append(all, other)
			}
			return err
		})
	})
	return all, failed(ctx, "watch", err)
}

// peersAfter returns the workers of other processes that have shown a presence, in the
// order in which self is to watch them: from the next higher ID, and from the
// lowest after the highest.
func (b *Backend) peersAfter(ctx context.Context, self int64) (ring []livenessOwner, err error) {
	leave, err := b.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	mine := b.livenessLock.acquire()
	var lower []livenessOwner
	err = b.read(ctx, func(q queryer) error {
		ring, lower = nil, nil
		return scan(ctx, q, b.sql(selectPeers), nil, func(r *sql.Rows) error {
			var other livenessOwner
			if err := r.Scan(&other.id, &other.identity); err != nil {
				return err
			}
			switch {
			case other.identity == "" || other.identity == mine:
			case other.id > self:
				ring = append(ring, other)
			default:
				lower = append(lower, other)
			}
			return nil
		})
	})
	return append(ring, lower...), err
}
