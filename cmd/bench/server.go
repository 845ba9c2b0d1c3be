package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A server is the PostgreSQL server of the driver postgres.
type server struct {
	dsn     string
	version string
	commit  string // the default synchronous_commit
	fsync   string

	prefix  string // of the schemas of this session
	schemas int    // number of schemas so far
}

// inspectServer connects to a server and reads the settings that the figures
// depend on.
func inspectServer(ctx context.Context, dsn string) (*server, error) {
	s := &server{dsn: dsn, prefix: fmt.Sprintf("bench_%08x", rand.Uint32())}
	err := harness.OnServer(ctx, dsn, func(ctx context.Context, conn *pgx.Conn) error {
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

// durability returns what a push survives on this server: without fsync, no
// power cut, whatever the store states.
func (s *server) durability(stated string) string {
	if stated == "full" && s.fsync != "on" {
		return "normal"
	}
	return stated
}

func (s *server) String() string {
	return fmt.Sprintf("PostgreSQL: %s, synchronous_commit %s, fsync %s", s.version, s.commit, s.fsync)
}
