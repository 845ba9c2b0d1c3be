package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Drivers are the SQLite drivers.
var Drivers = []string{"mattn", "modernc", "ncruces"}

// Mixed stands for all drivers on one file, each in its own processes.
const Mixed = "mixed"

// Memory is the store in memory instead of a driver.
const Memory = "memory"

// Source is the source of the module instead of a driver.
const Source = "source"

// Stores are all stores that a test may run on, in the order of results.
var Stores = append(slices.Clone(Drivers), Mixed, Memory, Source)

const childPackages = "github.com/plainjobs/plainjobs/internal/torture/child/"

// Programs are the children's programs, built when they are first needed.
type Programs struct {
	dir string

	mu    sync.Mutex
	built map[string]*program
}

type program struct {
	once sync.Once
	path string
	err  error
}

// NewPrograms returns programs that are built into dir.
func NewPrograms(dir string) *Programs {
	return &Programs{dir: dir, built: map[string]*program{}}
}

// Build returns the path of a driver's program, or why there is none.
func (p *Programs) Build(ctx context.Context, driver string) (string, error) {
	p.mu.Lock()
	b := p.built[driver]
	if b == nil {
		b = &program{}
		p.built[driver] = b
	}
	p.mu.Unlock()
	b.once.Do(func() { b.path, b.err = build(ctx, driver, p.dir) })
	return b.path, b.err
}

func build(ctx context.Context, driver, dir string) (string, error) {
	if programs := append(slices.Clone(Drivers), Memory); !slices.Contains(programs, driver) {
		return "", fmt.Errorf("there is no driver %q; there are %s", driver, strings.Join(programs, ", "))
	}
	path := filepath.Join(dir, "torture-"+driver)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, childPackages+driver)
	// The Go tool ends its compilers when it is interrupted, not when it is
	// killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return path, nil
	case strings.Contains(string(output), "build constraints exclude all Go files"):
		return "", &Skip{driver + " needs cgo, which is off: CGO_ENABLED=0, or there is no C compiler"}
	}
	return "", errors.Join(fmt.Errorf("go build of the %s child: %w", driver, err), errors.New(string(output)))
}

// available returns the programs that a config's driver stands for, and those
// of them that cannot be built here.
func (p *Programs) available(ctx context.Context, driver string) (programs map[string]string, missing map[string]*Skip, err error) {
	names := []string{driver}
	switch driver {
	case Mixed:
		names = Drivers
	case Source: // has no programs
		names = nil
	}
	programs, missing = map[string]string{}, map[string]*Skip{}
	for _, name := range names {
		path, err := p.Build(ctx, name)
		if skip := (*Skip)(nil); errors.As(err, &skip) && driver == Mixed {
			missing[name] = skip
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		programs[name] = path
	}
	if driver == Mixed && len(programs) < 2 {
		return nil, nil, &Skip{"there is only one driver, so there are none to mix"}
	}
	return programs, missing, nil
}
