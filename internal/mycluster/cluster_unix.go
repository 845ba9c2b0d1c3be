//go:build unix

package mycluster

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/plainjobs/plainjobs/internal/leash"
)

// A Cluster is a temporary MariaDB server.
type Cluster struct {
	dir  string
	port int
	leash.Leash
}

// program returns the path of one of the server's programs.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/libexec"} {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// start creates a server in a new directory and starts it.
func start(options ...string) (*Cluster, error) {
	server, err := program("mariadbd")
	if err != nil {
		return nil, err
	}
	install, err := program("mariadb-install-db")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "plainjobs-mariadb-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := c.run(install, server, options); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

// run creates the data and starts the server.
func (c *Cluster) run(install, server string, options []string) error {
	data := filepath.Join(c.dir, "data")
	common := []string{"--no-defaults", "--datadir=" + data}
	if os.Geteuid() == 0 {
		common = append(common, "--user=root")
	}
	setUp := filepath.Join(c.dir, "setup.sql")
	text := "CREATE DATABASE IF NOT EXISTS " + Database + ";\n"
	if err := os.WriteFile(setUp, []byte(text), 0o600); err != nil {
		return err
	}
	out, err := exec.Command(install, append(common, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, bytes.TrimSpace(out))
	}
	if c.port, err = freePort(); err != nil {
		return err
	}
	args := append([]string{server}, common...)
	args = append(args, "--socket="+c.Socket(), "--bind-address=127.0.0.1", "--port="+strconv.Itoa(c.port), "--init-file="+setUp,
		"--max-connections=300", "--innodb-buffer-pool-size=128M", "--innodb-log-file-size=64M", "--skip-name-resolve", "--pid-file="+filepath.Join(c.dir, "pid"),
		// The data does not outlive the test, so it need not reach the disk.
		"--innodb-flush-method=nosync")
	args = append(args, options...)
	// The shell starts a server again that was killed, and removes the directory at the end.
	script := `while "$@"; [ -e "$0/ready" ] && [ ! -e "$0/stop" ]; do sleep 0.1; done & loop=$!; exec 3>&-; cat >/dev/null; touch "$0/stop"
		while kill -0 $loop 2>/dev/null; do kill -KILL $(cat "$0/pid") 2>/dev/null; sleep 0.05; done; rm -rf "$0"`
	if err := c.Start(nil, &syscall.SysProcAttr{}, c.dir, script, append([]string{c.dir}, args...)...); err != nil {
		return err
	}
	if err := c.Await("the server", c.accepts); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "ready"), nil, 0o600)
}

// accepts reports whether the server accepts connections.
func (c *Cluster) accepts() bool {
	conn, err := net.Dial("unix", c.Socket())
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// Crash kills the server, and waits until it runs again.
func (c *Cluster) Crash(tb testing.TB) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "pid"))
	if err != nil {
		tb.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		tb.Fatal(err)
	}
	_ = os.Remove(c.Socket())
	if err := c.Await("the server", c.accepts); err != nil {
		tb.Fatal(err)
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Socket returns the path of the server's socket.
func (c *Cluster) Socket() string { return filepath.Join(c.dir, "s.sock") }

// DSN returns the DSN of the administrator for the socket.
func (c *Cluster) DSN() string { return "root@unix(" + c.Socket() + ")/" + Database }

// Address returns the address for TCP.
func (c *Cluster) Address() string { return "127.0.0.1:" + strconv.Itoa(c.port) }
