//go:build !unix

package pgcluster

import (
	"errors"
	"testing"
)

type Cluster struct{ Port int }

func startCluster() (*Cluster, error) {
	return nil, errors.New("the tests start servers on Unix only")
}

func (c *Cluster) dsn() string               { return "" }
func (c *Cluster) TCP(_, _, _ string) string { return "" }
func (c *Cluster) stop()                     {}

func Fresh(testing.TB) *Cluster { return nil }

func (c *Cluster) Crash(testing.TB, bool)                         {}
func (c *Cluster) Replica(testing.TB) *Cluster                    { return nil }
func (c *Cluster) SmallDisk(testing.TB) (dir string, grow func()) { return "", nil }
