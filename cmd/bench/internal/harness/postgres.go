package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/backend/postgres"
)

// serverWait bounds a call of OnServer. A schema that is to be dropped may have
// to wait for connections of a run that was killed.
const serverWait = time.Minute

// OnServer calls f with a connection of its own. Errors do not have the password.
func OnServer(ctx context.Context, dsn string, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err == nil {
		err = f(ctx, conn)
		_ = conn.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("postgres: %w", postgres.Redact(err))
	}
	return nil
}

// DropSchema drops the schema of a run, also if ctx has ended.
func DropSchema(ctx context.Context, dsn, schema string) error {
	return OnServer(context.WithoutCancel(ctx), dsn, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize()+" CASCADE")
		return err
	})
}
