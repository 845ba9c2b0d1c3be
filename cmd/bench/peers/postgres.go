package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

const pgxModule = "github.com/jackc/pgx/v5"

// A postgresSchema is the schema of a run, which the parent drops. It has its
// own connection, so that counting jobs does not take one of the library's.
type postgresSchema struct {
	name string
	look *pgx.Conn
}

// newPostgresSchema creates the schema of the order.
func newPostgresSchema(ctx context.Context, o order) (s postgresSchema, err error) {
	s.name = o.Schema
	if s.look, err = pgx.Connect(ctx, o.Postgres); err != nil {
		return s, postgres.Redact(err)
	}
	if _, err := s.look.Exec(ctx, "CREATE SCHEMA "+s.name); err != nil {
		return s, errors.Join(err, s.leave(ctx))
	}
	return s, nil
}

func (s postgresSchema) count(ctx context.Context, query string) (n int, err error) {
	err = s.look.QueryRow(ctx, query).Scan(&n)
	return n, err
}

// survives returns what a commit with that synchronous_commit survives.
func (s postgresSchema) survives(ctx context.Context, commit string) (string, error) {
	var fsync string
	err := s.look.QueryRow(ctx, "SELECT current_setting('fsync')").Scan(&fsync)
	if fsync == "on" && commit != "off" {
		return full, err
	}
	return normal, err
}

func (s postgresSchema) leave(ctx context.Context) error { return s.look.Close(ctx) }

// schemaName returns the name of a schema that does not exist.
func schemaName() string { return fmt.Sprintf("peers_%016x", rand.Uint64()) }

// inspectServer returns the settings of a server that the figures depend on.
func inspectServer(ctx context.Context, dsn string) (text string, err error) {
	err = harness.OnServer(ctx, dsn, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT 'PostgreSQL '||current_setting('server_version')||', fsync '||current_setting('fsync')").Scan(&text)
	})
	return text, err
}
