//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A notifier wakes workers of other processes when jobs have come. Each store in
// which somebody has waited has a datagram socket in a directory beside the
// database, which processes find there without a word in the database. A ring
// is one byte of what has happened: who hears it looks, and who does not hear
// it looks at intervals. Where there can be no directory or no socket (it is read-only,
// its path is longer than a socket's may be, it is another user's) there is no
// notifier.
type notifier struct {
	dir string // empty: no bell

	// The receiving side.
	mu      sync.Mutex
	bound   bool // or has been tried to
	closed  bool
	waiting int
	some    sync.Cond // waiting, or closed
	conn    *net.UnixConn
	path    string
	stop    chan struct{}
	ended   sync.WaitGroup

	// The sending side.
	due    atomic.Uint32
	sends  sync.Mutex
	socket int // of the sender, 0 if there is none
	others []string
	read   time.Time // when others was read, zero if it may have changed since
	turn   int
	peers  atomic.Bool // others had some when it was last read
}

const (
	// maxNotified bounds whom one commit rings for, and maxRingTime what it
	// takes. The next one starts where it ended.
	maxNotified   = 64
	maxNotifyTime = time.Millisecond
	// socketGrace is how old a change of the directory must be for its time
	// to tell it from the next one.
	socketGrace = 2 * time.Second
	// bindGrace marks a socket that is being made. One that is older than
	// bellStale never will be.
	bindGrace      = "new-"
	staleSocketAge = time.Minute
)

func newNotifier(path string) *notifier {
	b := &notifier{stop: make(chan struct{})}
	b.some.L = &b.mu
	if path != "" {
		b.dir = sideDir(path)
	}
	return b
}

// listen has heard called for rings of others while somebody waits, until the
// returned function is called. After each ring there is a pause.
func (b *notifier) listen(heard func(signalKind) (pause time.Duration)) (leave func()) {
	if b.dir == "" {
		return func() {}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.bound && !b.closed {
		b.bound = true
		if err := b.bind(); err == nil {
			b.ended.Go(func() { b.receive(heard) })
		}
	}
	b.waiting++
	b.some.Signal()
	return func() {
		b.mu.Lock()
		b.waiting--
		b.mu.Unlock()
	}
}

// bind makes the socket. The caller holds mu.
func (b *notifier) bind() error {
	name := fmt.Sprintf("%d-%016x", os.Getpid(), rand.Uint64())
	unborn := filepath.Join(b.dir, bindGrace+name)
	var conn *net.UnixConn
	err := os.ErrNotExist
	for tries := 0; tries < 3 && errors.Is(err, os.ErrNotExist); tries++ { // who leaves last removes the directory
		if err = makeSideDir(b.dir); err == nil {
			conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: unborn, Net: "unixgram"})
		}
	}
	if err != nil {
		return err
	}
	// One that is named, but not bound yet, would look dead to others.
	path := filepath.Join(b.dir, name)
	if err = shareAs(databaseOf(b.dir), unborn, 0o600); err == nil {
		err = os.Rename(unborn, path)
	}
	if err != nil {
		return errors.Join(err, conn.Close(), os.Remove(unborn))
	}
	b.conn, b.path = conn, path
	b.removeStaleSockets()
	return nil
}

// removeStaleSockets removes sockets of processes that were killed.
func (b *notifier) removeStaleSockets() {
	names, _ := b.list(-1)
	fd, err := datagramSocket()
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for start := time.Now(); len(names) > 0 && time.Since(start) < 100*maxNotifyTime; names = names[1:] {
		path := filepath.Join(b.dir, names[0])
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); errors.Is(err, unix.ECONNREFUSED) {
			removeStale(path)
		}
	}
}

// removeStale removes a socket that nobody listens at.
func removeStale(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return
	}
	if strings.HasPrefix(filepath.Base(path), bindGrace) && time.Since(info.ModTime()) < staleSocketAge {
		return
	}
	_ = os.Remove(path)
}

func (b *notifier) list(n int) ([]string, error) {
	f, err := os.Open(b.dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(n)
}

// receive waits for rings.
func (b *notifier) receive(heard func(signalKind) time.Duration) {
	raw, err := b.conn.SyscallConn()
	if err != nil {
		return
	}
	var buf [8]byte
	for {
		var rung signalKind
		b.mu.Lock()
		for b.waiting == 0 && !b.closed {
			b.some.Wait()
		}
		closed := b.closed
		b.mu.Unlock()
		if closed {
			return
		}
		err := raw.Read(func(fd uintptr) bool {
			// All that has come is one ring.
			for range 1024 {
				n, err := unix.Read(int(fd), buf[:])
				if errors.Is(err, unix.EAGAIN) {
					return rung != 0
				}
				for _, of := range buf[:max(n, 0)] {
					rung |= signalKind(of)
				}
			}
			return true
		})
		if err != nil {
			return
		}
		if pause := heard(rung); pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-b.stop:
				timer.Stop()
				return
			}
		}
	}
}

// notify rings for the other processes that wait. It never blocks. Who comes
// while somebody rings leaves it to him.
func (b *notifier) notify(of signalKind) {
	if b.dir == "" {
		return
	}
	b.due.Or(uint32(of))
	for b.due.Load() != 0 && b.sends.TryLock() {
		if of := b.due.Swap(0); of != 0 {
			b.send(signalKind(of))
		}
		b.sends.Unlock()
	}
}

// send sends to all in the directory. The caller holds sends.
func (b *notifier) send(of signalKind) {
	if err := b.refresh(); err != nil || len(b.others) == 0 {
		return
	}
	if b.socket == 0 {
		fd, err := datagramSocket()
		if err != nil {
			return
		}
		b.socket = fd
	}
	start := time.Now()
	for i := range min(maxNotified, len(b.others)) {
		path := b.others[b.turn%len(b.others)]
		b.turn++
		err := unix.Sendto(b.socket, []byte{byte(of)}, 0, &unix.SockaddrUnix{Name: path})
		if errors.Is(err, unix.ECONNREFUSED) {
			removeStale(path)
			b.read = time.Time{}
		}
		if i%8 == 7 && time.Since(start) > maxNotifyTime {
			break
		}
	}
}

// refresh reads the directory if it has changed. The caller holds sends.
func (b *notifier) refresh() error {
	info, err := os.Stat(b.dir)
	if err != nil {
		b.others, b.read = nil, time.Time{}
		b.peers.Store(false)
		return err
	}
	if info.ModTime().Equal(b.read) {
		return nil
	}
	names, err := b.list(4 * maxNotified)
	if err != nil && len(names) == 0 {
		b.others, b.read = nil, time.Time{}
		return err
	}
	b.mu.Lock()
	own := b.path
	b.mu.Unlock()
	b.others = b.others[:0]
	for _, name := range names {
		if path := filepath.Join(b.dir, name); path != own && !strings.HasPrefix(name, bindGrace) && !strings.Contains(name, ".") {
			b.others = append(b.others, path)
		}
	}
	slices.Sort(b.others)
	b.peers.Store(len(b.others) > 0)
	b.read = time.Time{}
	if time.Since(info.ModTime()) > socketGrace && len(names) < 4*maxNotified {
		b.read = info.ModTime()
	}
	return nil
}

// company reports whether there were others to ring for, when it last rang.
func (b *notifier) company() bool { return b.dir != "" && b.peers.Load() }

func datagramSocket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(fd)
	return fd, unix.SetNonblock(fd, true)
}

// close takes the bell down. Nobody waits or rings any more.
func (b *notifier) close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	b.some.Broadcast()
	conn, path := b.conn, b.path
	b.mu.Unlock()
	close(b.stop)
	if conn != nil {
		_ = os.Remove(path)
		_ = conn.Close()
		b.ended.Wait()
		_ = os.Remove(b.dir) // fails unless it is empty
	}
	b.sends.Lock()
	defer b.sends.Unlock()
	if b.socket != 0 {
		_ = unix.Close(b.socket)
		b.socket = 0
	}
}
