//go:build !unix

package sqlitetest

import "testing"

const waitVariable = "PLAINJOBS_TEST_WAIT"

func waitInChild(string, Open) {}

func (d driver) testNotifier(t *testing.T) { t.Skip("this system has no named datagram sockets") }

func (d driver) testNotifierCloses(t *testing.T) { t.Skip("this system has no named datagram sockets") }

func (d driver) testWithoutNotifier(t *testing.T) { t.Skip("this system never has a notifier") }
