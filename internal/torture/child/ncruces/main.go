// Command ncruces is the child of torture tests, on the ncruces driver.
package main

import (
	_ "github.com/ncruces/go-sqlite3/vfs/memdb"

	"github.com/plainjobs/plainjobs/backend/sqlite/ncruces"
	"github.com/plainjobs/plainjobs/internal/torture/child"
	"github.com/plainjobs/plainjobs/internal/torture/child/faultvfs"
)

func main() {
	child.Main(child.Driver{Open: ncruces.Open, SQL: "sqlite3", VFS: faultvfs.Name, Disk: faultvfs.Register()})
}
