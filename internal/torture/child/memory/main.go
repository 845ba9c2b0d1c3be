// Command memory is what torture tests do their worst to, on the store in memory.
package main

import "github.com/plainjobs/plainjobs/internal/torture/child"

func main() { child.Main(child.Driver{}) }
