package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A presence shows that this process lives: a small file beside the database
// that it holds locked, with a lock that the system takes off it when it ends,
// in whatever way. Who can lock the file of another knows that it has ended,
// and its jobs run again within a moment instead of at the end of their lease.
// (On Windows this is compiled and vetted, and was not run.)
//
// The file is never one of SQLite's own, and the lock never a POSIX one, which
// any closing of the file would void. Where there can be no such file or lock,
// and for workers on another host or since before a reboot, heartbeats decide
// alone. A lock that is held proves nothing: a stopped process keeps it.
type presence struct {
	dir string // empty: none

	mu    sync.Mutex
	file  *os.File
	shown string // what is stored with workers, see show
	tried bool
}

const (
	presenceSuffix = ".alive"
	// presencePoll is how often a neighbour's presence is looked at where the
	// system does not tell of its end.
	presencePoll = 50 * time.Millisecond
	// presenceRing is how often the neighbours are looked up.
	presenceRing = 500 * time.Millisecond
)

// show creates and locks the file, the first time, and returns what tells
// others how to look for it: the boot, the file's identity and its name. It is
// empty if there is none.
func (p *presence) show() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tried || p.dir == "" {
		return p.shown
	}
	p.tried = true
	boot, err := bootID()
	if err != nil || os.Mkdir(p.dir, 0o700) != nil && !isDir(p.dir) {
		return ""
	}
	name := rand.Text() + presenceSuffix
	path := filepath.Join(p.dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return ""
	}
	id, err := identity(f)
	if err == nil && tryLock(f) {
		p.file, p.shown = f, strings.Join([]string{boot, id, name}, "|")
		p.sweep()
		return p.shown
	}
	f.Close()
	_ = os.Remove(path)
	return ""
}

// presenceStale is how old a file is that nobody will ask for any more.
const presenceStale = 24 * time.Hour

// sweep removes files of processes that ended long ago and were not missed.
func (p *presence) sweep() {
	entries, _ := os.ReadDir(p.dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), presenceSuffix) || time.Since(info.ModTime()) < presenceStale {
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

// close gives the lock up.
func (p *presence) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried, p.shown = true, ""
	if p.file == nil {
		return
	}
	// The mark is for where an open file cannot be removed, and somebody may
	// lock it before it is.
	name := p.file.Name()
	_ = p.file.Truncate(1)
	_ = os.Remove(name)
	p.file.Close()
	_ = os.Remove(name)
	p.file = nil
	_ = os.Remove(p.dir) // fails unless it is empty
}

// A neighbour is a worker whose end somebody waits for.
type neighbour struct {
	id     int64
	file   *os.File        // its presence, not locked
	closed <-chan struct{} // tells that the presence may have been let go, or is nil
	stop   func()
}

// watch returns the worker that has shown this as a neighbour, or nil if it
// cannot be known when it ends: it is of another host, or from before a reboot,
// or its file is gone, which closing removes and anybody else may have.
func (p *presence) watch(id int64, shown string) *neighbour {
	boot, rest, _ := strings.Cut(shown, "|")
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
	n := &neighbour{id: id, file: f}
	n.closed, n.stop = closings(path)
	return n
}

// ended reports whether it is certain that the neighbour's process has ended.
func (n *neighbour) ended() bool {
	if !tryLock(n.file) {
		return false
	}
	info, err := n.file.Stat()
	return err == nil && info.Size() == 0 // it was not given up
}

func (n *neighbour) leave() {
	if n != nil {
		n.stop()
		n.file.Close()
	}
}

// forget removes the file of a worker that was rescued from.
func (p *presence) forget(shown string) {
	if i := strings.LastIndexByte(shown, '|'); i >= 0 && p.dir != "" {
		if name := shown[i+1:]; name == filepath.Base(name) && strings.HasSuffix(name, presenceSuffix) {
			_ = os.Remove(filepath.Join(p.dir, name))
		}
	}
}

const selectNeighbours = `SELECT id, presence FROM plainjobs_workers ORDER BY id`

// Watch implements [backend.Sentinel]. It watches the worker with the next
// higher ID, and the lowest after the highest, whose presence can be looked
// for.
func (b *Backend) Watch(ctx context.Context, self int64) ([]int64, error) {
	var n *neighbour
	var shown string
	defer func() { n.leave() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	looked := time.Time{}
	for {
		if time.Since(looked) >= presenceRing {
			id, now, err := b.neighbour(ctx, self)
			if err != nil && !busy(err) {
				return nil, failed(ctx, "watch", err)
			}
			if looked = time.Now(); err == nil && (n == nil || id != n.id || now != shown) {
				n.leave()
				n, shown = b.presence.watch(id, now), now
			}
		}
		if n != nil && n.ended() {
			return b.company(ctx, n.id, shown)
		}
		wait, closed := presenceRing, (<-chan struct{})(nil)
		if n != nil {
			if closed = n.closed; closed == nil {
				wait = presencePoll
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

const selectCompany = `SELECT id FROM plainjobs_workers WHERE presence = ?`

// company returns a worker and the others of its process, which have shown the
// same and are forgotten with it.
func (b *Backend) company(ctx context.Context, id int64, shown string) (all []int64, err error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "watch", err)
	}
	defer leave()
	err = b.read(ctx, func(q queryer) error {
		all = []int64{id}
		return scan(ctx, q, b.sql(selectCompany), []any{shown}, func(r *sql.Rows) error {
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

// neighbour returns the worker that self watches, and its presence.
func (b *Backend) neighbour(ctx context.Context, self int64) (id int64, shown string, err error) {
	leave, err := b.enter()
	if err != nil {
		return 0, "", err
	}
	defer leave()
	mine := b.presence.show()
	err = b.read(ctx, func(q queryer) error {
		id, shown = 0, ""
		return scan(ctx, q, b.sql(selectNeighbours), nil, func(r *sql.Rows) error {
			var other int64
			var presence string
			if err := r.Scan(&other, &presence); err != nil {
				return err
			}
			// The first that is higher, or else the first.
			if presence != "" && presence != mine && (id == 0 || id < self && other > self) {
				id, shown = other, presence
			}
			return nil
		})
	})
	return id, shown, err
}
