package memory_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/conformance"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
		clock := conformance.NewClock()
		b := memory.New(&memory.Options{Clock: clock.Now, History: opts.History})
		tb.Cleanup(func() { b.Close() })
		return conformance.Store{
			Open:    func(testing.TB) backend.Backend { return b },
			Advance: clock.Advance,
		}
	})
}
