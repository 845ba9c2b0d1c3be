package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// A server is named by a URL or by keywords, over TCP or a Unix socket, with the password
// in the environment.
func TestServer(t *testing.T) {
	c := pgcluster.Own(t)
	dir := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", c.Port)
	for _, db := range []string{
		"postgres://" + pgcluster.Superuser + "@" + address + "/postgres?sslmode=disable",
		fmt.Sprintf("user=%s host=127.0.0.1 port=%d dbname=postgres sslmode=disable", pgcluster.Superuser, c.Port),
		c.DSN(),
		"postgres://" + pgcluster.Superuser + "@[::1]:1," + address + "/postgres?sslmode=disable",
	} {
		for _, args := range [][]string{{"migrate"}, {"stats"}} {
			for _, password := range []string{pgcluster.Password, "wrong-secret"} {
				got := call(t, os.Args[0], dir, func(cmd *exec.Cmd) {
					cmd.Env = append(cmd.Environ(), "PGPASSWORD="+password)
				}, append([]string{"--db", db}, args...)...)
				right := password == pgcluster.Password || db == c.DSN() // the socket needs none
				if right != (got.status == 0) || strings.Contains(got.out+got.err, password) {
					t.Errorf("--db %q %q ended with %d: %s%s", db, args, got.status, got.out, got.err)
				}
			}
		}
	}
}
