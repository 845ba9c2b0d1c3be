//go:build unix

package pgcluster

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/internal/leash"
)

// Pooler starts PgBouncer in front of the cluster, in transaction pooling mode, and returns
// its DSN. It stops PgBouncer at the end of the test, and skips the test if PgBouncer is not
// installed.
func (c *Cluster) Pooler(tb testing.TB) (dsn string) {
	tb.Helper()
	pgbouncer, err := exec.LookPath("pgbouncer")
	if err != nil {
		if pgbouncer = "/usr/sbin/pgbouncer"; !exists(pgbouncer) {
			tb.Skip("PgBouncer is not installed")
		}
	}
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.mkdir("pooler"); err != nil {
		tb.Fatal(err)
	}
	dir := filepath.Join(c.dir, "pooler")
	settings := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
postgres = host=%s port=%d user=%s dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
`, c.dir, c.Port, Superuser, port)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	var l leash.Leash
	err = l.Start(nil, c.attr, dir, `"$@" & pid=$!; exec 3>&-; cat >/dev/null; kill -INT $pid; wait $pid`, "sh", pgbouncer, settings)
	if err != nil {
		tb.Fatal(err)
	}
	err = l.Await("the pooler", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Stop)
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", Superuser, port)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
