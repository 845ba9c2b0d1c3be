//go:build !unix

package sqlite

import "time"

// A notifier is nothing here: datagram sockets with names are of unix. Processes
// notice each other's jobs by looking at intervals.
type notifier struct{}

func newNotifier(string) *notifier { return &notifier{} }

func (*notifier) listen(func(signalKind) time.Duration) (leave func()) { return func() {} }

func (*notifier) notify(signalKind) {}

func (*notifier) company() bool { return false }

func (*notifier) close() {}
