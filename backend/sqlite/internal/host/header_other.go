//go:build !unix

package host

import (
	"errors"
	"io"
	"os"
)

// ReadHeader returns the first 100 bytes of a database file, or nil if it is
// shorter.
func ReadHeader(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	header := make([]byte, 100)
	if _, err := io.ReadFull(f, header); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil
		}
		return nil, err
	}
	return header, nil
}
