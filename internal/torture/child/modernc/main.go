// Command modernc is the child of torture tests, on the modernc driver.
package main

import (
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/internal/torture/child"
)

func main() { child.Main(child.Driver{Open: modernc.Open, SQL: "sqlite"}) }
