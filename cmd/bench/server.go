package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/backend/postgres"
)

// A server is the PostgreSQL that the driver of that name is measured on.
type server struct {
	dsn     string
	version string
	commit  string // synchronous_commit, of those who do not set it
	fsync   string

	prefix  string // of the schemas of this session
	schemas int    // that there were
}

// inspectServer connects to a server, and asks what the figures depend on.
func inspectServer(ctx context.Context, dsn string) (*server, error) {
	s := &server{dsn: dsn, prefix: fmt.Sprintf("bench_%08x", rand.Uint32())}
	err := s.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync')`,
		).Scan(&s.version, &s.commit, &s.fsync)
	})
	return s, err
}

// schema returns the name of a schema that does not exist.
func (s *server) schema() string {
	s.schemas++
	return fmt.Sprintf("%s_%d", s.prefix, s.schemas)
}

// drop drops a schema, whatever became of the run that made it, and of ctx.
func (s *server) drop(ctx context.Context, schema string) error {
	return s.do(context.WithoutCancel(ctx), func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize()+" CASCADE")
		return err
	})
}

// serverWait bounds a call of do. A schema that is to be dropped may have to
// wait for connections of a run that was killed.
const serverWait = time.Minute

func (s *server) do(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn)
	if err == nil {
		err = f(ctx, conn)
		_ = conn.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("postgres: %w", postgres.Redact(err))
	}
	return nil
}

// durability returns what a push survives that the store calls so: without
// fsync, no power cut.
func (s *server) durability(stated string) string {
	if stated == "full" && s.fsync != "on" {
		return "normal"
	}
	return stated
}

func (s *server) String() string {
	return fmt.Sprintf("PostgreSQL: %s, synchronous_commit %s, fsync %s", s.version, s.commit, s.fsync)
}
