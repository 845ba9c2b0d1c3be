// Package mattn keeps jobs in SQLite through github.com/mattn/go-sqlite3,
// which is SQLite itself: the fastest of the drivers, and the one that needs
// cgo and a C compiler; without them the package is empty. It registers the
// driver name "sqlite3", as the ncruces driver does, so a program can have only
// one of the two.
//
// A store on a *sql.DB of the application, for jobs in its transactions, is made
// by sqlite.New. With this driver that should be opened so, that transactions
// take the lock when they begin and wait for it:
//
//	db, err := sql.Open("sqlite3", "file:app.db?_txlock=immediate&_busy_timeout=10000")
//	store, err := sqlite.New(db, nil)
package mattn
