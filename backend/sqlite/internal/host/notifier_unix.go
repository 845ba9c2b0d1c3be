//go:build unix

package host

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

// A Notifier sends signals to the other processes that use a database. Each process
// that has listened has a datagram socket in the directory next to the database,
// where the others find it. A signal is one byte. Delivery is best effort, so
// receivers must also poll. Without a directory or a socket (it is read-only, its
// path is too long for a socket, another user owns it) there are no signals.
type Notifier struct {
	dir string // empty: no signals

	// The receiving side.
	mu      sync.Mutex
	bound   bool // or binding has failed
	closed  bool
	waiting int
	some    sync.Cond // signalled if waiting or closed changes
	conn    *net.UnixConn
	path    string
	stop    chan struct{}
	ended   sync.WaitGroup

	// The sending side.
	due    atomic.Uint32 // signals to send
	sends  sync.Mutex
	socket int // of the sender, 0 if there is none
	others []string
	read   time.Time // the directory's time when others was read; zero if others may be outdated
	turn   int
	peers  atomic.Bool // others was not empty when it was last read
}

const (
	// maxNotified is how many processes one signal reaches, and maxNotifyTime how
	// long sending may take. The next signal starts where the last one stopped.
	maxNotified   = 64
	maxNotifyTime = time.Millisecond
	// socketGrace is the age at which the directory's time distinguishes its last
	// change from the next.
	socketGrace = 2 * time.Second
	// unboundPrefix marks a socket that is being bound. After staleSocketAge its
	// process must have failed.
	unboundPrefix  = "new-"
	staleSocketAge = time.Minute
)

// NewNotifier returns the notifier of the database at path. It sends and receives
// nothing if path is empty.
func NewNotifier(path string) *Notifier {
	n := &Notifier{stop: make(chan struct{})}
	n.some.L = &n.mu
	if path != "" {
		n.dir = SideDir(path)
	}
	return n
}

// Listen has received called for each signal of another process until leave is
// called. The first listener's function serves all. The notifier then receives
// nothing for the returned pause.
func (n *Notifier) Listen(received func(Signal) (pause time.Duration)) (leave func()) {
	if n.dir == "" {
		return func() {}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.bound && !n.closed {
		n.bound = true
		if err := n.bind(); err == nil {
			n.ended.Go(func() { n.receive(received) })
		}
	}
	n.waiting++
	n.some.Signal()
	return func() {
		n.mu.Lock()
		n.waiting--
		n.mu.Unlock()
	}
}

// bind creates the socket. The caller holds mu.
func (n *Notifier) bind() error {
	name := fmt.Sprintf("%d-%016x", os.Getpid(), rand.Uint64())
	unbound := filepath.Join(n.dir, unboundPrefix+name)
	var conn *net.UnixConn
	err := os.ErrNotExist
	for tries := 0; tries < 3 && errors.Is(err, os.ErrNotExist); tries++ { // the last process to leave removes the directory
		if err = MakeSideDir(n.dir); err == nil {
			conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: unbound, Net: "unixgram"})
		}
	}
	if err != nil {
		return err
	}
	// A socket that has its name but is not bound yet looks dead to others.
	path := filepath.Join(n.dir, name)
	if err = ShareAs(databaseOf(n.dir), unbound, 0o600); err == nil {
		err = os.Rename(unbound, path)
	}
	if err != nil {
		return errors.Join(err, conn.Close(), os.Remove(unbound))
	}
	n.conn, n.path = conn, path
	n.removeStaleSockets()
	return nil
}

// removeStaleSockets removes the sockets of processes that were killed.
func (n *Notifier) removeStaleSockets() {
	names, _ := n.list(-1)
	fd, err := datagramSocket()
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for start := time.Now(); len(names) > 0 && time.Since(start) < 100*maxNotifyTime; names = names[1:] {
		path := filepath.Join(n.dir, names[0])
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); errors.Is(err, unix.ECONNREFUSED) {
			removeStale(path)
		}
	}
}

// removeStale removes a socket without a listener.
func removeStale(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return
	}
	if strings.HasPrefix(filepath.Base(path), unboundPrefix) && time.Since(info.ModTime()) < staleSocketAge {
		return
	}
	_ = os.Remove(path)
}

func (n *Notifier) list(limit int) ([]string, error) {
	f, err := os.Open(n.dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(limit)
}

// receive waits for signals.
func (n *Notifier) receive(received func(Signal) time.Duration) {
	raw, err := n.conn.SyscallConn()
	if err != nil {
		return
	}
	var buf [8]byte
	for {
		var signals Signal
		n.mu.Lock()
		for n.waiting == 0 && !n.closed {
			n.some.Wait()
		}
		closed := n.closed
		n.mu.Unlock()
		if closed {
			return
		}
		err := raw.Read(func(fd uintptr) bool {
			// All waiting datagrams make one signal.
			for range 1024 {
				count, err := unix.Read(int(fd), buf[:])
				if errors.Is(err, unix.EAGAIN) {
					return signals != 0
				}
				for _, b := range buf[:max(count, 0)] {
					signals |= Signal(b)
				}
			}
			return true
		})
		if err != nil {
			return
		}
		if pause := received(signals); pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-n.stop:
				timer.Stop()
				return
			}
		}
	}
}

// Notify sends signals to the other processes that listen. It never blocks: if
// another goroutine is sending, that one sends these signals, too.
func (n *Notifier) Notify(signals Signal) {
	if n.dir == "" {
		return
	}
	n.due.Or(uint32(signals))
	for n.due.Load() != 0 && n.sends.TryLock() {
		if signals := n.due.Swap(0); signals != 0 {
			n.send(Signal(signals))
		}
		n.sends.Unlock()
	}
}

// send sends signals to the processes in the directory. The caller holds sends.
func (n *Notifier) send(signals Signal) {
	if err := n.refresh(); err != nil || len(n.others) == 0 {
		return
	}
	if n.socket == 0 {
		fd, err := datagramSocket()
		if err != nil {
			return
		}
		n.socket = fd
	}
	start := time.Now()
	for i := range min(maxNotified, len(n.others)) {
		path := n.others[n.turn%len(n.others)]
		n.turn++
		err := unix.Sendto(n.socket, []byte{byte(signals)}, 0, &unix.SockaddrUnix{Name: path})
		if errors.Is(err, unix.ECONNREFUSED) {
			removeStale(path)
			n.read = time.Time{}
		}
		if i%8 == 7 && time.Since(start) > maxNotifyTime {
			break
		}
	}
}

// refresh reads the directory if it has changed. The caller holds sends.
func (n *Notifier) refresh() error {
	info, err := os.Stat(n.dir)
	if err != nil {
		n.others, n.read = nil, time.Time{}
		n.peers.Store(false)
		return err
	}
	if info.ModTime().Equal(n.read) {
		return nil
	}
	names, err := n.list(4 * maxNotified)
	if err != nil && len(names) == 0 {
		n.others, n.read = nil, time.Time{}
		return err
	}
	n.mu.Lock()
	own := n.path
	n.mu.Unlock()
	n.others = n.others[:0]
	for _, name := range names {
		if path := filepath.Join(n.dir, name); path != own && !strings.HasPrefix(name, unboundPrefix) && !strings.Contains(name, ".") {
			n.others = append(n.others, path)
		}
	}
	slices.Sort(n.others)
	n.peers.Store(len(n.others) > 0)
	n.read = time.Time{}
	if time.Since(info.ModTime()) > socketGrace && len(names) < 4*maxNotified {
		n.read = info.ModTime()
	}
	return nil
}

// HasPeers reports whether there were other processes when a signal was last sent.
func (n *Notifier) HasPeers() bool { return n.dir != "" && n.peers.Load() }

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

// Close removes the socket. No call of Listen or Notify may follow.
func (n *Notifier) Close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	n.some.Broadcast()
	conn, path := n.conn, n.path
	n.mu.Unlock()
	close(n.stop)
	if conn != nil {
		_ = os.Remove(path)
		_ = conn.Close()
		n.ended.Wait()
		_ = os.Remove(n.dir) // fails unless it is empty
	}
	n.sends.Lock()
	defer n.sends.Unlock()
	if n.socket != 0 {
		_ = unix.Close(n.socket)
		n.socket = 0
	}
}
