//go:build !linux

package engine

// Process returns nothing, as nothing here tells whether a process has ended.
func Process() string { return "" }

func lookAt(string) (ended, present bool) { return false, false }
