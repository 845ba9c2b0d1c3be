//go:build !linux

package sqlite

// fileBirth is empty: this system is not asked when a file was made.
func fileBirth(string) (string, error) { return "", nil }
