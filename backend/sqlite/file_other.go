//go:build !unix

package sqlite

import (
	"os"
	"strings"
)

// fileKey identifies a file by its name, which this system folds.
func fileKey(path string) (any, error) { return strings.ToLower(path), nil }

// checkFile asks only whether the file is there.
func checkFile(path string, _ interface{ Warn(string, ...any) }) error {
	_, err := os.Stat(path)
	return err
}

func isFull(string) bool { return false }
