module github.com/plainjobs/plainjobs/backend/postgres/pqtest

go 1.26.0

require (
	github.com/lib/pq v1.12.3
	github.com/plainjobs/plainjobs v0.0.0
)

require (
	github.com/jmoiron/sqlx v1.4.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

replace github.com/plainjobs/plainjobs => ../../..
