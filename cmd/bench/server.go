package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A server is the server of a driver.
type server struct {
	dsn    string
	text   string // its version, and the settings that the figures depend on
	unsafe bool   // it does not wait for the disk, whatever the store states
	drop   func(ctx context.Context, dsn, schema string) error

	prefix  string // of the schemas of this session
	schemas int    // number of schemas so far
}

// inspectServer connects to a driver's server and reads the settings that the figures
// depend on.
func inspectServer(ctx context.Context, d *driver, dsn string) (*server, error) {
	s := &server{dsn: dsn, prefix: fmt.Sprintf("bench_%08x", rand.Uint32())}
	if d.kind == child.MariaDB {
		return s, s.inspectMariaDB(ctx)
	}
	s.drop = harness.DropSchema
	var version, commit, fsync string
	err := harness.OnServer(ctx, dsn, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync')`,
		).Scan(&version, &commit, &fsync)
	})
	s.text, s.unsafe = fmt.Sprintf("PostgreSQL: %s, synchronous_commit %s, fsync %s", version, commit, fsync), fsync != "on"
	return s, err
}

func (s *server) inspectMariaDB(ctx context.Context) error {
	s.drop = harness.DropDatabase
	var version, flush, sync string
	err := harness.OnMariaDB(ctx, s.dsn, func(ctx context.Context, db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@sync_binlog").Scan(&version, &flush, &sync)
	})
	s.text = fmt.Sprintf("MariaDB: %s, innodb_flush_log_at_trx_commit %s, sync_binlog %s", version, flush, sync)
	return err
}

// schema returns the name of a schema that does not exist.
func (s *server) schema() string {
	s.schemas++
	return fmt.Sprintf("%s_%d", s.prefix, s.schemas)
}

// durability returns what a push survives on this server: without fsync, no
// power cut, whatever the store states.
func (s *server) durability(stated string) string {
	if stated == "full" && s.unsafe {
		return "normal"
	}
	return stated
}
