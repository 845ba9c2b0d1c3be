//go:build !linux

package host

// Classify knows no file system on this system.
func Classify(string) (name string, kind FileSystemKind, err error) { return "", Unclassified, nil }

// FreeSpace is not known on this system.
func FreeSpace(string) (bytes int64, known bool) { return 0, false }

// IsFull is not known on this system.
func IsFull(string) bool { return false }
