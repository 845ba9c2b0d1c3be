package torture

import (
	"fmt"
	"os"
	"sync"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// acks records acknowledged pushes in a file outside the database under test.
// An acknowledgement counts once it is on disk there.
type acks struct {
	file    *os.File
	entries chan child.Reply
	done    chan struct{}

	mu        sync.Mutex
	ids       map[int64]int64 // number of the task, by ID of the job
	calls     int             // acknowledged ones
	displaced int             // calls that began while the file was not in its place
	wal       int64           // size of the log at the last acknowledgement
	err       error
}

func newAcks(path string) (*acks, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	a := &acks{file: f, entries: make(chan child.Reply, 1024), done: make(chan struct{}), ids: map[int64]int64{}}
	go a.write()
	return a, nil
}

// add records a reply that acknowledges a push, and reports whether it is one.
func (a *acks) add(r child.Reply) bool {
	if len(r.IDs) == 0 {
		return false
	}
	a.entries <- r
	return true
}

// write makes all queued acknowledgements durable with one sync.
func (a *acks) write() {
	defer close(a.done)
	for r := range a.entries {
		batch := []child.Reply{r}
		for len(batch) < cap(a.entries) && len(a.entries) > 0 {
			batch = append(batch, <-a.entries)
		}
		var text []byte
		for _, r := range batch {
			for i, id := range r.IDs {
				text = fmt.Appendf(text, "%d %d\n", id, r.Numbers[i])
			}
		}
		_, err := a.file.Write(text)
		if err == nil {
			err = a.file.Sync()
		}
		a.mu.Lock()
		if err != nil && a.err == nil {
			a.err = err
		}
		for _, r := range batch {
			for i, id := range r.IDs {
				a.ids[id] = r.Numbers[i]
			}
			a.calls++
			if r.Displaced {
				a.displaced++
			}
			a.wal = max(a.wal, r.WAL)
		}
		a.mu.Unlock()
	}
}

// count returns the number of acknowledged jobs.
func (a *acks) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids)
}

// pushes returns the number of acknowledged calls.
func (a *acks) pushes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

// close returns when all acknowledgements are on disk.
func (a *acks) close() error {
	close(a.entries)
	<-a.done
	a.file.Close()
	return a.err
}
