package plainjobs

import (
	"sync"
	"testing"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// inlineQueue returns the queue that runs jobs at once in a test without a queue, and
// nil in programs. The linker sets testing.Testing, so it is right even while packages
// are initialised. Importing package testing adds about 60 kB to a program, and no
// flags.
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
