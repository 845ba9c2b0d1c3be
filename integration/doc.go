// Package integration runs the tests of the PostgreSQL store on servers that the store's
// own tests do not start: one that is running, and each supported version in a container
// if a Docker engine answers. It is a separate module, so that users do not inherit the
// library that starts containers.
package integration
