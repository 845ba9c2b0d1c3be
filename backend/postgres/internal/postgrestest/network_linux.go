package postgrestest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A network joins stations by a bridge, each in its own namespace.
type network struct {
	tb       testing.TB
	hub      *namespace // the bridge's namespace
	stations int
}

// A station is a machine of a network.
type station struct {
	*namespace
	net     *network
	address string
	port    string // the bridge's end of its cable
}

// newNetwork makes a network and removes it at the end of the test. It skips the test
// if rights or programs are missing.
func newNetwork(tb testing.TB) *network {
	tb.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		tb.Skipf("a network needs ip, of iproute2: %v", err)
	}
	if os.Geteuid() != 0 {
		tb.Skip("a network needs root")
	}
	hub, err := newNamespace()
	if err != nil {
		tb.Skip(err)
	}
	tb.Cleanup(hub.close)
	if err := hub.run("ip", "link", "add", "bridge", "type", "bridge"); err != nil {
		tb.Skipf("the kernel has no bridges: %v", err)
	}
	n := &network{tb: tb, hub: hub}
	n.must(hub, "ip", "link", "set", "bridge", "up")
	return n
}

func (n *network) must(where *namespace, command ...string) {
	n.tb.Helper()
	if err := where.run(command...); err != nil {
		n.tb.Fatal(err)
	}
}

// join adds a station, with an address reserved for examples.
func (n *network) join() *station {
	n.tb.Helper()
	own, err := newNamespace()
	if err != nil {
		n.tb.Fatal(err)
	}
	n.tb.Cleanup(own.close)
	n.stations++
	s := &station{namespace: own, net: n, address: fmt.Sprintf("192.0.2.%d", n.stations), port: fmt.Sprint("port", n.stations)}
	n.must(n.hub, "ip", "link", "add", s.port, "type", "veth", "peer", "name", "cable")
	n.must(n.hub, "ip", "link", "set", "cable", "netns", own.path)
	n.must(own, "ip", "link", "set", "cable", "name", "eth0")
	n.must(own, "ip", "address", "add", s.address+"/24", "dev", "eth0")
	n.must(own, "ip", "link", "set", "eth0", "up")
	n.must(n.hub, "ip", "link", "set", s.port, "master", "bridge", "up")
	return s
}

// cut pulls the station's cable out of the bridge.
func (s *station) cut()  { s.net.must(s.net.hub, "ip", "link", "set", s.port, "down") }
func (s *station) plug() { s.net.must(s.net.hub, "ip", "link", "set", s.port, "up") }

// misdirect loses everything that the station sends to another one, and nothing else:
// the station gets a wrong hardware address for the other one.
func (s *station) misdirect(to *station) {
	s.net.must(s.namespace, "ip", "neighbour", "replace", to.address, "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", "eth0")
}

func (s *station) redirect(to *station) {
	s.net.must(s.namespace, "ip", "neighbour", "delete", to.address, "dev", "eth0")
}

// slow delays the traffic to the station and says how, or returns an error if the
// kernel cannot do that.
func (s *station) slow() (how string, err error) {
	for _, how := range []string{"netem delay 30ms", "tbf rate 512kbit burst 2kb latency 2s"} {
		command := append([]string{"tc", "qdisc", "replace", "dev", s.port, "root"}, strings.Fields(how)...)
		one := s.net.hub.run(command...)
		if one == nil {
			return how, nil
		}
		err = errors.Join(err, one)
	}
	return "", err
}

func (s *station) quick() { s.net.must(s.net.hub, "tc", "qdisc", "delete", "dev", s.port, "root") }
