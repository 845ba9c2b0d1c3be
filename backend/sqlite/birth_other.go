//go:build !linux

package sqlite

// birthOf is empty: this system is not asked when a file was made.
func birthOf(string) (string, error) { return "", nil }
