// Command memory measures the memory backend for cmd/bench.
package main

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

func main() {
	child.Main(child.Driver{
		Kind: child.Memory,
		Open: func(child.Order) (backend.Backend, error) { return memory.New(nil), nil },
	})
}
