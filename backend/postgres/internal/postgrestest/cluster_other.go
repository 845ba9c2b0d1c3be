//go:build !unix

package postgrestest

import (
	"errors"
	"testing"
)

type cluster struct {
	dir  string
	port int
}

func startCluster() (*cluster, error) {
	return nil, errors.New("the tests start servers on Unix only")
}

func (c *cluster) dsn(string) string         { return "" }
func (c *cluster) tcp(_, _, _ string) string { return "" }
func (c *cluster) stop()                     {}

func fresh(testing.TB) *cluster { return nil }

func (c *cluster) crash(testing.TB, bool)                         {}
func (c *cluster) replica(testing.TB) *cluster                    { return nil }
func (c *cluster) smallDisk(testing.TB) (dir string, grow func()) { return "", nil }

type pair struct{}

func newPair(testing.TB, Driver) *pair { return nil }

func (p *pair) dsn() string { return "" }
func (p *pair) protect()    {}
func (p *pair) fail(bool)   {}
func (p *pair) rebuild()    {}
