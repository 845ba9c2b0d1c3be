package plainjobs

import (
	"sync"
	"testing"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// inlineQueue returns the queue that runs jobs at once where a test has set
// none, and nil in programs. testing.Testing is set by the linker, so it is
// right even while packages are initialised. Importing package testing makes a
// program some 60 kB longer and adds no flags.
func inlineQueue() *Queue {
	if !testing.Testing() {
		return nil
	}
	return inline()
}

var inline = sync.OnceValue(func() *Queue {
	store := &engine.Inline{}
	q := New(store, nil)
	store.Queue, q.engine().Test = q.engine(), true
	return q
})
