// Package pqtest tests backend/postgres with a second driver, github.com/lib/pq,
// through nothing but database/sql. It is a module of its own, so that the
// library does not require the driver.
package pqtest
