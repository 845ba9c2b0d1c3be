//go:build !unix

package mycluster

import (
	"errors"
	"testing"
)

// A Cluster is a temporary MariaDB server.
type Cluster struct{}

func start(...string) (*Cluster, error) {
	return nil, errors.New("the tests start servers on Unix only")
}

func (c *Cluster) DSN() string     { return "" }
func (c *Cluster) Socket() string  { return "" }
func (c *Cluster) Address() string { return "" }
func (c *Cluster) Stop()           {}

// Crash is for Unix.
func (c *Cluster) Crash(testing.TB) {}
