//go:build !unix

package host

import "os"

// This system has no owners and modes like those of unix: files inherit their
// permissions from their directory.

// GiveToOwner does nothing on this system.
func GiveToOwner(*os.File, string) {}

// ShareAs does nothing on this system.
func ShareAs(string, string, os.FileMode) error { return nil }

// IsShared returns false on this system.
func IsShared(string) bool { return false }

// MakeSideFiles does nothing on this system.
func MakeSideFiles(string) {}

// ShareSideFiles does nothing on this system.
func ShareSideFiles(string) {}

// Forbidden returns nil on this system.
func Forbidden(string) error { return nil }

// MakeSideDir creates the directory next to a database if it does not exist.
func MakeSideDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if isDir(dir) {
		return nil
	}
	return err
}

// MatchDatabase does nothing on this system.
func MatchDatabase(string, string) error { return nil }

// SyncDir does nothing on this system.
func SyncDir(string) error { return nil }
