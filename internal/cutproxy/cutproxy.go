// Package cutproxy breaks the connections between a client and a server, for tests.
package cutproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy forwards connections to a server, until the test makes it break them.
type Proxy struct {
	Ends bool // a cut closes the connections instead of resetting them

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
	passed [2]int
	broken chan struct{} // closed when the connections are cut
}

// New starts a proxy, and stops it at the end of the test.
func New(tb testing.TB, to string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{tb: tb, to: to, listen: l, conns: map[net.Conn]struct{}{}, broken: make(chan struct{})}
	p.tasks.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.Cut()
		p.tasks.Wait()
	})
	return p
}

// Port returns the port of the proxy, on 127.0.0.1.
func (p *Proxy) Port() int { return p.listen.Addr().(*net.TCPAddr).Port }

func (p *Proxy) accept() {
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
func (p *Proxy) pass(to, from net.Conn, answer bool) {
	defer p.drop(to, from)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		allowed, cut, stall := p.allow(n, answer)
		if _, err := to.Write(buffer[:allowed]); err != nil {
			return
		}
		if cut {
			p.Cut()
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
func (p *Proxy) allow(n int, answer bool) (allowed int, cut, stall bool) {
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

// Arm makes the proxy break all connections, once, after n more bytes to the server or
// from it. If it stalls, it only stops forwarding in that direction, until it is
// disarmed.
func (p *Proxy) Arm(answer bool, n int, stalls bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.answer, p.left, p.stalls = true, answer, n, stalls
}

// Disarm reports whether the proxy had broken nothing yet.
func (p *Proxy) Disarm() (waits bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits = p.armed && p.left > 0
	p.armed = false
	return waits
}

// Armed reports whether the proxy has yet to break the connections.
func (p *Proxy) Armed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.armed
}

// Count returns how many bytes passed to the server and from it since the last call.
func (p *Proxy) Count() (to, from int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to, from = p.passed[0], p.passed[1]
	p.passed = [2]int{}
	return to, from
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok && !p.Ends {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(p.conns)
	close(p.broken)
	p.broken = make(chan struct{})
}

func (p *Proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			p.tb.Logf("proxy: %v", err)
		}
	}
}
