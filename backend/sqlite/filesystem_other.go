//go:build unix && !linux

package sqlite

func checkFileSystem(string, interface{ Warn(string, ...any) }) error { return nil }

func isFull(string) bool { return false }
