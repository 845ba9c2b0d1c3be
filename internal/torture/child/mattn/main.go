//go:build cgo

// Command mattn is the child of torture tests, on the mattn driver.
package main

import (
	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
	"github.com/plainjobs/plainjobs/internal/torture/child"
)

func main() { child.Main(child.Driver{Open: mattn.Open, SQL: "sqlite3"}) }
