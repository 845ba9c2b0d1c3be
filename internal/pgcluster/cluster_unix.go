//go:build unix

package pgcluster

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/plainjobs/plainjobs/internal/leash"
)

// A Cluster is a temporary PostgreSQL server.
type Cluster struct {
	dir     string
	Port    int                   // before the start, 0 means any free port
	listens string                // a TCP address to listen on besides 127.0.0.1
	admits  string                // a network whose hosts may connect; empty means none
	place   func(*exec.Cmd) error // starts the server's process; nil means (*exec.Cmd).Start
	attr    *syscall.SysProcAttr  // runs the server as a user that may run one
	revives bool                  // the server restarts after a crash
	leash.Leash
}

// startCluster creates a cluster in a new directory and starts it.
func startCluster() (*Cluster, error) {
	c, err := newCluster()
	if err == nil {
		err = c.make()
	}
	if err != nil {
		return nil, err // not the cluster, which does not run
	}
	return c, nil
}

// make creates an empty database cluster and starts its server. If the server does not
// start, make removes the directory.
func (c *Cluster) make() error {
	initdb, err := program("initdb")
	if err == nil {
		err = c.init(initdb)
	}
	if err != nil {
		c.remove()
		return err
	}
	return c.run()
}

// newCluster creates the directory of a cluster.
func newCluster() (*Cluster, error) {
	dir, err := os.MkdirTemp("", "plainjobs-postgres-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if c.attr, err = c.owner(); err == nil {
		err = c.giveAway(dir)
	}
	if err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) remove() { _ = os.RemoveAll(c.dir) }

// mkdir creates a directory in the cluster's directory. The server may write to it.
func (c *Cluster) mkdir(name string) error {
	path := filepath.Join(c.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	return c.giveAway(path)
}

// init creates an empty database cluster with initdb.
func (c *Cluster) init(initdb string) error {
	secret := filepath.Join(c.dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o644); err != nil {
		return err
	}
	makes := exec.Command(initdb, "-D", filepath.Join(c.dir, "data"), "-U", Superuser, "--pwfile", secret, "--auth-local=trust", "--auth-host=scram-sha-256",
		"-E", "UTF8", "--locale=C", "--no-sync")
	makes.SysProcAttr, makes.Dir = c.attr, c.dir
	if out, err := makes.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if c.admits != "" {
		return c.admit()
	}
	return nil
}

// run starts the server. If the server does not start, run removes the directory.
func (c *Cluster) run() error {
	postgres, err := program("postgres")
	if err == nil && c.Port == 0 {
		c.Port, err = freePort()
	}
	if err != nil {
		c.remove()
		return err
	}
	data := filepath.Join(c.dir, "data")
	// The shell removes the directory when the server has ended.
	script := `"$@" & pid=$!; exec 3>&-; cat >/dev/null; kill -INT $pid; wait $pid; rm -rf "$0"`
	if c.revives {
		script = `while "$@"; [ -e "$0/ready" ] && [ ! -e "$0/stop" ]; do sleep 0.1; done & loop=$!; exec 3>&-; cat >/dev/null; touch "$0/stop"
			while kill -0 $loop 2>/dev/null; do kill -INT $(head -n 1 "$0/data/postmaster.pid"); sleep 0.1; done; rm -rf "$0"`
	}
	addresses := "127.0.0.1"
	if c.listens != "" {
		addresses += "," + c.listens
	}
	err = c.Start(c.place, c.attr, c.dir, script, c.dir, postgres, "-D", data, "-k", c.dir, "-h", addresses, "-p", strconv.Itoa(c.Port),
		"-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "max_wal_size=1GB", "-c", "log_min_messages=fatal",
		// The data does not outlive the test, so it need not reach the disk.
		"-c", "fsync=off", "-c", "full_page_writes=off")
	if err != nil {
		c.remove()
		return err
	}
	err = c.Await("the server", func() bool {
		// The last line of this file is the server's state.
		state, _ := os.ReadFile(filepath.Join(data, "postmaster.pid"))
		return bytes.HasSuffix(bytes.TrimSpace(state), []byte("ready"))
	})
	if err != nil {
		c.remove()
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "ready"), nil, 0o644) // from now on the shell restarts the server after a crash
}

// giveAway changes the owner of a file or directory to the user that runs the server.
func (c *Cluster) giveAway(path string) error {
	if c.attr.Credential == nil {
		return nil
	}
	return os.Chown(path, int(c.attr.Credential.Uid), int(c.attr.Credential.Gid))
}

// owner returns attributes that run a process as a user that may run a server. PostgreSQL
// refuses to run as root.
func (c *Cluster) owner() (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil || uid == 0 {
			continue
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return nil, fmt.Errorf("root may not run a server, and there is neither a user postgres nor nobody")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// DSN returns the DSN for the Unix socket.
func (c *Cluster) DSN() string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=disable", c.dir, c.Port, Superuser)
}

// TCP returns the DSN for TCP, which requires passwords.
func (c *Cluster) TCP(user, password, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", user, password, c.Port, database)
}

// Dir returns the directory of the socket.
func (c *Cluster) Dir() string { return c.dir }

// At starts a cluster that also listens on the given address and admits the hosts of a
// network. The function start starts its process. At stops the cluster at the end of the
// test.
func At(tb testing.TB, address, network string, start func(*exec.Cmd) error) *Cluster {
	tb.Helper()
	Own(tb) // skips the test if there is no server to start
	c, err := newCluster()
	if err != nil {
		tb.Fatal(err)
	}
	c.listens, c.admits, c.place, c.Port = address, network, start, 5432
	if err := c.make(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Stop)
	return c
}

// admit allows the hosts of the network to connect.
func (c *Cluster) admit() error {
	f, err := os.OpenFile(filepath.Join(c.dir, "data", "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, "host all all", c.admits, "trust")
	return err
}
