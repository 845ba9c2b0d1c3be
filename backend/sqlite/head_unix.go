//go:build unix

package sqlite

import (
	"errors"
	"io"
	"os"
	"sync"
)

// heads are database files that were opened to read their headers. They stay open
// until the process ends: closing one would take off the locks that SQLite has on
// it, if this process has it open by any other means.
var heads = struct {
	sync.Mutex
	files map[fileID]*os.File
}{files: map[fileID]*os.File{}}

// readHeader returns the beginning of a database file.
func readHeader(path string) ([]byte, error) {
	id, err := identifyFile(path)
	if err != nil {
		return nil, err
	}
	heads.Lock()
	defer heads.Unlock()
	f := heads.files[id]
	if f == nil {
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		heads.files[id] = f
	}
	head := make([]byte, 100)
	n, err := f.ReadAt(head, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if n < len(head) {
		head = nil
	}
	return head, err
}
