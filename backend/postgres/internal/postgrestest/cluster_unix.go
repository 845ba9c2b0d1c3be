//go:build unix

package postgrestest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// A cluster is a throwaway PostgreSQL.
type cluster struct {
	dir     string
	port    int
	process *exec.Cmd
	leash   io.WriteCloser // when it is closed, also by our death, the server stops
	log     bytes.Buffer
}

// startCluster makes a cluster in a directory of its own and starts it.
func startCluster() (*cluster, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := program("postgres")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "plainjobs-postgres-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	if err := c.start(initdb, postgres); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

func (c *cluster) start(initdb, postgres string) error {
	attr, err := c.giveAway()
	if err != nil {
		return err
	}
	secret := filepath.Join(c.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		return err
	}
	data := filepath.Join(c.dir, "data")
	makes := exec.Command(initdb, "-D", data, "-U", superuser, "--pwfile", secret, "--auth-local=trust", "--auth-host=scram-sha-256",
		"-E", "UTF8", "--locale=C", "--no-sync")
	makes.SysProcAttr, makes.Dir = attr, c.dir
	if out, err := makes.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if c.port, err = freePort(); err != nil {
		return err
	}
	// The shell outlives us for the moment that the server needs to stop, and
	// takes its directory with it.
	const leash = `"$@" & pid=$!; cat >/dev/null; kill -INT $pid; wait $pid; rm -rf "$0"`
	c.process = exec.Command("/bin/sh", "-c", leash, c.dir, postgres, "-D", data, "-k", c.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(c.port),
		"-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "max_wal_size=1GB", "-c", "log_min_messages=fatal",
		// Nothing here outlives the test, whose machine may have a slow disk.
		"-c", "fsync=off", "-c", "full_page_writes=off")
	c.process.SysProcAttr, c.process.Dir = attr, c.dir
	c.process.Stdout, c.process.Stderr = &c.log, &c.log
	if c.leash, err = c.process.StdinPipe(); err != nil {
		return err
	}
	if err := c.process.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		// The last line of this file is the server's state.
		state, _ := os.ReadFile(filepath.Join(data, "postmaster.pid"))
		if bytes.HasSuffix(bytes.TrimSpace(state), []byte("ready")) {
			return nil
		}
		if time.Now().After(deadline) {
			c.stop()
			return fmt.Errorf("the server does not start:\n%s", c.log.String())
		}
		<-time.After(10 * time.Millisecond) // a new server has no other sign of life
	}
}

// giveAway gives the directory to a user who may run a server, if we may not.
func (c *cluster) giveAway() (*syscall.SysProcAttr, error) {
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
		if err := os.Chown(c.dir, int(uid), int(gid)); err != nil {
			return nil, err
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

// dsn returns how to connect through the socket, with more parameters.
func (c *cluster) dsn(more string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=disable %s", c.dir, c.port, superuser, more)
}

// tcp returns how to connect over TCP, where passwords are asked for.
func (c *cluster) tcp(user, password, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", user, password, c.port, database)
}

func (c *cluster) stop() {
	_ = c.leash.Close()
	_ = c.process.Wait()
}
