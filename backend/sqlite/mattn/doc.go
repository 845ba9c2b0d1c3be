// Package mattn keeps jobs in SQLite through github.com/mattn/go-sqlite3,
// which is SQLite itself: the fastest of the drivers, and the one that needs
// cgo and a C compiler; without them the package is empty. It registers the
// driver name "sqlite3", as the ncruces driver does, so a program can have only
// one of the two.
package mattn
