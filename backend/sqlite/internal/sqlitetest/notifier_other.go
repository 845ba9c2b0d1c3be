//go:build !unix

package sqlitetest

import "testing"

const waitVariable = "PLAINJOBS_TEST_WAIT"

func waitInChild(string, Open) {}

func (d driver) testBell(t *testing.T) { t.Skip("there are no datagram sockets with names") }

func (d driver) testBellLeaves(t *testing.T) { t.Skip("there are no datagram sockets with names") }

func (d driver) testWithoutBell(t *testing.T) { t.Skip("there is never a notifier") }
