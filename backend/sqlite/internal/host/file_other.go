//go:build !unix

package host

import (
	"os"
	"strings"
)

// Inspect reports on a file. This system tells only whether it exists, and does not
// distinguish upper and lower case in its name.
func Inspect(path string) (File, error) {
	_, err := os.Stat(path)
	return File{Key: strings.ToLower(path), Regular: true, Links: 1}, err
}
