package child

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

// clock returns the clock of the store, nil for the system's. All children on
// one database read its offset from one file, so that they agree.
func (c *child) clock() func() time.Time {
	if c.Offset == "" {
		return nil
	}
	f, err := os.Open(c.Offset)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return func() time.Time {
		var b [8]byte
		if _, err := f.ReadAt(b[:], 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return time.Now().Add(time.Duration(binary.LittleEndian.Uint64(b[:]))) //nolint:gosec // it was an int64
	}
}

// WriteOffset writes the offset of the clock into a file.
func WriteOffset(path string, d time.Duration) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(d)) //nolint:gosec // bits are bits
	if _, err := f.WriteAt(b[:], 0); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
