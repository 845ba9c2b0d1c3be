package cli

import (
	"maps"
	"slices"
)

// keys returns the keys of a map in their order.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
