// Command memory is the child of torture tests, on the store in memory.
package main

import "github.com/plainjobs/plainjobs/internal/torture/child"

func main() { child.Main(child.Driver{}) }
