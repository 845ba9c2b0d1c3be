// Package integration has what runs elsewhere only where a Docker engine
// answers: the tests of the PostgreSQL store on every version of the server
// that the library supports. It is a module of its own, so that users do not
// inherit what starts containers.
package integration
