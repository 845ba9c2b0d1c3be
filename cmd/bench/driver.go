package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A driver is one child program.
type driver struct {
	name string
	kind child.Kind
	cgo  bool // needs cgo
}

var drivers = []*driver{
	{name: "memory", kind: child.Memory},
	{name: "mattn", kind: child.SQLite, cgo: true},
	{name: "modernc", kind: child.SQLite},
	{name: "ncruces", kind: child.SQLite},
	{name: "postgres", kind: child.Postgres},
	{name: "mariadb", kind: child.MariaDB},
}

func (d *driver) onServer() bool { return d.kind.OnServer() }

func driverOf(name string) (*driver, error) {
	for _, d := range drivers {
		if d.name == name {
			return d, nil
		}
	}
	return nil, fmt.Errorf("unknown driver %q; the drivers are %s", name, names(drivers))
}

func names(drivers []*driver) string {
	var all []string
	for _, d := range drivers {
		all = append(all, d.name)
	}
	return strings.Join(all, ", ")
}

const childPackages = "github.com/plainjobs/plainjobs/cmd/bench/internal/child/"

// build compiles the driver's child into dir and returns its path.
func (d *driver) build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, d.name)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, childPackages+d.name)
	// The Go tool ends its compilers when it is interrupted, not when it is
	// killed.
	cmd.Cancel = func() error {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return cmd.Process.Kill()
		}
		return nil
	}
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", d.reason(err, string(output))
	}
	return path, nil
}

// reason returns in one line why the driver was not built.
func (d *driver) reason(err error, output string) error {
	if d.cgo && strings.Contains(output, "build constraints exclude all Go files") {
		return errors.New("it needs cgo, which is off: CGO_ENABLED=0, or there is no C compiler")
	}
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") { // "# package"
			said = append(said, line)
		}
	}
	switch {
	case len(said) == 0:
		return fmt.Errorf("go build: %w", err)
	case len(said) == 1:
		return fmt.Errorf("go build: %s", said[0])
	}
	return fmt.Errorf("go build: %s (and %s more)", said[0], harness.Plural(len(said)-1, "line"))
}
