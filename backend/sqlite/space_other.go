//go:build !linux

package sqlite

func fileSystem(string) string { return "" }

func freeSpace(string) (bytes int64, known bool) { return 0, false }
