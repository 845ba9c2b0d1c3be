//go:build !unix

package sqlite

import "time"

// A bell is nothing here: datagram sockets with names are of unix. Processes
// notice each other's jobs by looking at intervals.
type bell struct{}

func newBell(string) *bell { return &bell{} }

func (*bell) listen(func(ringing) time.Duration) (leave func()) { return func() {} }

func (*bell) ring(ringing) {}

func (*bell) company() bool { return false }

func (*bell) close() {}
