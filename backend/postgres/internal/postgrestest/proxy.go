package postgrestest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// A proxy forwards connections to a server, until the test makes it break them.
type proxy struct {
	tb     testing.TB
	to     string
	listen net.Listener
	tasks  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	armed  bool
	answer bool // counts what the server sends, not what it receives
	left   int  // bytes that still pass
	stalls bool // stops forwarding instead of cutting
	ends   bool // a cut closes the connections instead of resetting them
	passed [2]int
	broken chan struct{} // closed when the connections are cut
}

// newProxy starts a proxy, and stops it at the end of the test.
func newProxy(tb testing.TB, to string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{tb: tb, to: to, listen: l, conns: map[net.Conn]struct{}{}, broken: make(chan struct{})}
	p.tasks.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.tasks.Wait()
	})
	return p
}

func (p *proxy) port() int { return p.listen.Addr().(*net.TCPAddr).Port }

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.tasks.Go(func() { p.pass(server, client, false) })
		p.tasks.Go(func() { p.pass(client, server, true) })
	}
}

// pass forwards what comes from one side.
func (p *proxy) pass(to, from net.Conn, answer bool) {
	defer p.drop(to, from)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		allowed, cut, stall := p.allow(n, answer)
		if _, err := to.Write(buffer[:allowed]); err != nil {
			return
		}
		if cut {
			p.cut()
			return
		}
		if stall { // the other side does not notice that this one gave up
			p.mu.Lock()
			broken := p.broken
			p.mu.Unlock()
			_, _ = io.Copy(io.Discard, from)
			<-broken
			return
		}
		if err != nil {
			return
		}
	}
}

// allow returns how many of n bytes pass, and what happens then.
func (p *proxy) allow(n int, answer bool) (allowed int, cut, stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	side := 0
	if answer {
		side = 1
	}
	p.passed[side] += n
	if !p.armed || p.answer != answer {
		return n, false, false
	}
	if n < p.left {
		p.left -= n
		return n, false, false
	}
	n, p.left = p.left, 0
	if p.stalls {
		return n, false, true // later bytes stall, too
	}
	p.armed = false
	return n, true, false
}

// arm makes the proxy break all connections, once, after n more bytes to the server or
// from it. If it stalls, it only stops forwarding in that direction, until it is
// disarmed.
func (p *proxy) arm(answer bool, n int, stalls bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.answer, p.left, p.stalls = true, answer, n, stalls
}

// disarm reports whether the proxy had broken nothing yet.
func (p *proxy) disarm() (waits bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits = p.armed && p.left > 0
	p.armed = false
	return waits
}

// count returns how many bytes passed to the server and from it since the last call.
func (p *proxy) count() (to, from int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to, from = p.passed[0], p.passed[1]
	p.passed = [2]int{}
	return to, from
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok && !p.ends {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(p.conns)
	close(p.broken)
	p.broken = make(chan struct{})
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			p.tb.Logf("proxy: %v", err)
		}
	}
}

// openThrough opens a store in the schema through a proxy, and closes it at the end of
// the test.
func (s *schema) openThrough(t *testing.T) (*proxy, *postgres.Backend) {
	t.Helper()
	p := newProxy(t, fmt.Sprintf("127.0.0.1:%d", pgcluster.Own(t).Port))
	through := &pgcluster.Cluster{Port: p.port()}
	b, err := s.Open(through.TCP(pgcluster.Superuser, pgcluster.Password, "postgres")+"&application_name="+s.name, &postgres.Options{Schema: s.name, NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return p, b
}
