package postgrestest

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// A machine is a host as the test sees it from outside.
type machine struct {
	t     *testing.T
	name  string
	stdin io.WriteCloser
	ended chan struct{}

	mu    sync.Mutex
	acked map[string]int64
	took  []time.Duration // times of pushes
	said  map[string]int  // lines that no call has waited for yet
}

// newMachine starts a host at a station. It ends with the test.
func newMachine(t *testing.T, s *station, name, dsn string) *machine {
	t.Helper()
	m := &machine{t: t, name: name, ended: make(chan struct{}), acked: map[string]int64{}, said: map[string]int{}}
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), hostVariable+"="+name+" "+dsn)
	var stderr strings.Builder
	c.Stderr = &stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.stdin = stdin
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.start(c); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			m.hear(lines.Text())
		}
		if err := c.Wait(); err != nil {
			t.Errorf("the host %s: %v", name, err)
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		select {
		case <-m.ended:
		case <-time.After(hostCall + slack):
			t.Errorf("the host %s does not end", name)
			_ = c.Process.Kill()
			<-m.ended
		}
		if t.Failed() {
			t.Logf("the host %s: %s", name, stderr.String())
		}
	})
	return m
}

func (m *machine) hear(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var key string
	var id, took int64
	if n, _ := fmt.Sscanf(line, "acked %s %d %d", &key, &id, &took); n == 3 {
		m.acked[key] = id
		m.took = append(m.took, time.Duration(took)*time.Microsecond)
		return
	}
	if strings.HasPrefix(line, "wrong: ") {
		m.t.Errorf("the host %s: %s", m.name, line)
	}
	m.said[line]++
}

func (m *machine) tell(line string) {
	m.t.Helper()
	if _, err := fmt.Fprintln(m.stdin, line); err != nil {
		m.t.Fatalf("sending %[2]q to the host %[1]s: %[3]v", m.name, line, err)
	}
}

// until waits until f returns true.
func (m *machine) until(what string, f func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		m.mu.Lock()
		ok := f()
		m.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the host %s never %s", m.name, what)
		}
		select {
		case <-m.ended:
			m.t.Fatalf("the host %s has ended, and never %s", m.name, what)
		case <-time.After(5 * time.Millisecond): // polls the host's output
		}
	}
}

// says waits for a line of the host's output.
func (m *machine) says(format string, args ...any) {
	m.t.Helper()
	line := fmt.Sprintf(format, args...)
	m.until("says: "+line, func() bool { return m.said[line] > 0 })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said[line]-- // the line may come again
}

func (m *machine) acks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.acked)
}

// thrives waits until more pushes were acknowledged, and returns their median time.
func (m *machine) thrives() time.Duration {
	m.t.Helper()
	from := m.acks()
	m.until("pushes", func() bool { return len(m.took) >= from+20 })
	m.mu.Lock()
	defer m.mu.Unlock()
	took := slices.Sorted(slices.Values(m.took[from:]))
	return took[len(took)/2]
}

// hosts is a network of a server and two hosts: near, whose network breaks, and far.
type hosts struct {
	t         *testing.T
	direct    *postgres.Backend // bypasses the network
	server    *station
	place     *station // near's station
	near, far *machine
}

// testHosts cuts one of two hosts off the server, slows it down, and blocks the traffic
// in one direction. No acknowledged job may be lost, no job with a kept key stored
// twice, and every job must be done. The other host takes over the jobs that the first
// one held, which then cannot settle them.
//
// It is for pgx, whose calls end with their context on a silent network.
func (d Driver) testHosts(t *testing.T) {
	if d.Name != "pgx" {
		t.Skip("a silent network is tested with pgx")
	}
	net := newNetwork(t)
	h := &hosts{t: t, server: net.join()}
	c := pgcluster.At(t, h.server.address, "192.0.2.0/24", h.server.start)
	direct, err := d.Open(c.DSN(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	h.direct = direct
	dsn := fmt.Sprintf("postgres://%s:%s@%s:%d/postgres?sslmode=disable", pgcluster.Superuser, pgcluster.Password, h.server.address, c.Port)
	h.place = net.join()
	h.near, h.far = newMachine(t, h.place, near, dsn), newMachine(t, net.join(), "far", dsn)
	rounds := 1
	if long() {
		rounds = 20
	}
	for i := range rounds {
		usual := h.near.thrives()
		h.far.thrives()
		h.sever(fmt.Sprint("cut", i), h.place.cut, h.place.plug)
		h.slow(usual)
		if i%2 == 0 {
			h.sever(fmt.Sprint("deaf", i), func() { h.server.misdirect(h.place) }, func() { h.server.redirect(h.place) })
		} else {
			h.sever(fmt.Sprint("mute", i), func() { h.place.misdirect(h.server) }, func() { h.place.redirect(h.server) })
		}
	}
	acked := map[string]int64{}
	for _, m := range []*machine{h.near, h.far} {
		m.tell("quiet")
		m.says("is quiet")
		m.mu.Lock()
		maps.Copy(acked, m.acked)
		m.mu.Unlock()
	}
	allEnd(t, direct)
	a := newAudit(t, direct, acked)
	t.Logf("cut off %d times: %d jobs acknowledged, %d lost, %d doubled, %d not done", 2*rounds, len(acked), a.lost, a.doubled, len(a.open))
	if len(a.open) > 0 {
		t.Errorf("not done are %q", a.open)
	}
}

// sever cuts near off while it holds jobs, and heals the network when far has taken
// them over.
func (h *hosts) sever(what string, cut, heal func()) {
	h.t.Helper()
	held := []string{what + " x", what + " y"}
	for _, s := range held {
		task := newJob(jobHeld.Name())
		task.Payload = fmt.Appendf(nil, "%q", s)
		if _, err := h.direct.Push(h.t.Context(), []backend.NewJob{task}); err != nil {
			h.t.Fatal(err)
		}
		h.near.says("holds %s", s)
	}
	h.near.tell("lease " + what)
	h.near.says("leases %s", what)
	began := time.Now()
	cut()
	before := h.near.acks()
	h.far.tell("take")
	for _, s := range held {
		h.far.says("took over %s", s)
		h.near.says("lost %s", s)
	}
	for i := range 3 {
		h.far.says("took over %s %d", what, i)
	}
	h.far.thrives()
	took := time.Since(began)
	if n := h.near.acks() - before; n > 5 { // some answers may have been in transit
		h.t.Errorf("near pushed %d jobs while it was cut off", n)
	}
	heal()
	h.near.tell("settle")
	h.near.says("settled 3, lost 3")
	h.near.thrives()
	h.far.tell("rest")
	h.far.says("rests")
	h.t.Logf("%s: taken over after %v, all well after %v", what, took, time.Since(began))
}

// slow delays near's traffic for a while.
func (h *hosts) slow(usual time.Duration) {
	h.t.Helper()
	how, err := h.place.slow()
	if err != nil {
		h.t.Run("Slow", func(t *testing.T) { t.Skipf("the kernel cannot delay traffic: %v", err) })
		return
	}
	took := h.near.thrives()
	h.far.thrives()
	h.place.quick()
	h.t.Logf("%s: a push takes %v, before %v", how, took, usual)
	if strings.HasPrefix(how, "netem") && took < 30*time.Millisecond { // the delay of one answer; a narrow link may pass some at once
		h.t.Errorf("the delayed host is not slower")
	}
}
