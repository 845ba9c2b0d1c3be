//go:build unix

package host

import (
	"errors"
	"io"
	"os"
	"sync"
)

// headers are the database files whose headers were read. They stay open until the
// process ends: closing one would drop the locks that SQLite has on it.
var headers = struct {
	sync.Mutex
	files map[FileID]*os.File
}{files: map[FileID]*os.File{}}

// ReadHeader returns the first 100 bytes of a database file, or nil if it is
// shorter.
func ReadHeader(path string) ([]byte, error) {
	id, err := Identify(path)
	if err != nil {
		return nil, err
	}
	headers.Lock()
	defer headers.Unlock()
	f := headers.files[id]
	if f == nil {
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		headers.files[id] = f
	}
	header := make([]byte, 100)
	n, err := f.ReadAt(header, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if n < len(header) {
		header = nil
	}
	return header, err
}
