// Package pqtest tests backend/postgres with a second driver, github.com/lib/pq,
// through database/sql only. It is a separate module, so that the library does not
// require the driver.
package pqtest
