// Package mattn stores jobs in SQLite through github.com/mattn/go-sqlite3, which
// compiles SQLite's C code. It is the fastest of the drivers and needs cgo and a C
// compiler; without cgo the package is empty. It registers the driver name "sqlite3",
// as the ncruces driver does, so a program can use only one of the two.
//
// To enqueue jobs in transactions of the application, open a store on its *sql.DB with
// sqlite.New. Open the *sql.DB like this, so that transactions take the write lock when
// they begin, and wait for it:
//
//	db, err := sql.Open("sqlite3", "file:app.db?_txlock=immediate&_busy_timeout=10000")
//	store, err := sqlite.New(db, nil)
package mattn
