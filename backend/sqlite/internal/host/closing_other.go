//go:build !linux

package host

// watchClosing returns a nil channel: this system has no notification, so the
// caller polls.
func watchClosing(string) (closed <-chan struct{}, stop func()) { return nil, func() {} }
