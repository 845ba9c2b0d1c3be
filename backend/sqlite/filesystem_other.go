//go:build unix && !linux

package sqlite

func checkFileSystem(string, interface{ Warn(string, ...any) }) error { return nil }
