//go:build !linux

package sqlite

// closings has no notification on this system: a process
// that waits for a file to be closed polls.
func closings(string) (closed <-chan struct{}, stop func()) { return nil, func() {} }
