package host

import (
	"os"
	"strings"
)

const sideSuffix = "-plainjobs"

// SideDir returns the directory next to a database. It has the sockets of the
// processes that use the database and the files that show that they are alive.
func SideDir(path string) string { return path + sideSuffix }

// databaseOf returns the database of a side directory.
func databaseOf(sideDir string) string { return strings.TrimSuffix(sideDir, sideSuffix) }

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}
