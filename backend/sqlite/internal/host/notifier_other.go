//go:build !unix

package host

import "time"

// A Notifier does nothing on this system, which has no named datagram sockets.
// Processes poll for the commits of others.
type Notifier struct{}

// NewNotifier returns a notifier.
func NewNotifier(string) *Notifier { return &Notifier{} }

// Listen does nothing.
func (*Notifier) Listen(func(Signal) time.Duration) (leave func()) { return func() {} }

// Notify does nothing.
func (*Notifier) Notify(Signal) {}

// HasPeers returns false.
func (*Notifier) HasPeers() bool { return false }

// Close does nothing.
func (*Notifier) Close() {}
