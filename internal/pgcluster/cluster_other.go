//go:build !unix

package pgcluster

import (
	"errors"
	"os/exec"
	"testing"
)

type Cluster struct{ Port int }

func startCluster() (*Cluster, error) {
	return nil, errors.New("the tests start servers on Unix only")
}

func (c *Cluster) DSN() string               { return "" }
func (c *Cluster) TCP(_, _, _ string) string { return "" }
func (c *Cluster) Stop()                     {}

func Fresh(testing.TB) *Cluster { return nil }

func (c *Cluster) Crash(testing.TB, bool)                         {}
func (c *Cluster) Replica(testing.TB, string) *Cluster            { return nil }
func (c *Cluster) SmallDisk(testing.TB) (dir string, grow func()) { return "", nil }

func At(testing.TB, string, string, func(*exec.Cmd) error) *Cluster { return nil }

func (c *Cluster) Dir() string { return "" }

func (c *Cluster) Pooler(testing.TB) string { return "" }

type Pair struct{}

func NewPair(testing.TB, string) *Pair { return nil }

func (p *Pair) DSN() string { return "" }
func (p *Pair) Protect()    {}
func (p *Pair) Fail(bool)   {}
func (p *Pair) Rebuild()    {}
