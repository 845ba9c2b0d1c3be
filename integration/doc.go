// Package integration has what runs elsewhere only where a Docker engine
// answers: the tests of the PostgreSQL store on every version of the server
// that the library supports. It is a module of its own, as nobody should
// inherit what starts containers.
package integration
