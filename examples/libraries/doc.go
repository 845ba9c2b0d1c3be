// Package libraries shows how plainjobs works together with other libraries: jobs in the
// transactions of GORM, ent, bun, sqlc and sqlx, and failures in Sentry and Prometheus.
// The code that a program copies is in this package; its tests run it.
package libraries
