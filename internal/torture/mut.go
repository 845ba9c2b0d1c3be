package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var mutTest = &Test{
	ID:     "mut",
	About:  "mutants of the source must be found by the tests, each in 99 of 100 runs",
	Unit:   "runs of each quick test",
	Counts: []string{"mutants", "runs"},
	Short:  1, Full: 100,
	Only: Source,
	run:  mut,
}

// slowRuns is how many times the tests run that take more than a moment, of a
// hundred.
const slowRuns = 20

// abreast is how many runs there are at once.
const abreast = 2

// shortMutants is how many mutants the short form has.
const shortMutants = 2

// mut builds each test with a flaw, by an overlay of the Go tool so that the
// source is left alone, and without, and runs it again and again.
func mut(ctx context.Context, c Config) (r Result, err error) {
	began := time.Now()
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/plainjobs/plainjobs").Output()
	if err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp(c.Dir, "torture-mut-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	m := &mutation{root: strings.TrimSpace(string(root)), dir: dir}
	all := mutants
	if c.Short {
		all = mutants[:shortMutants]
	}
	killed, runs := 0, 0
	for i := range all {
		n := c.Rounds
		if all[i].slow {
			n = max(1, n*slowRuns/100)
		}
		got, err := m.try(ctx, &all[i], n)
		if err != nil {
			return r, fmt.Errorf("mutant %q: %w", all[i].rule, err)
		}
		fmt.Fprintf(c.Out, "torture: %3d/%-3d %s: %s %s\n", got, n, all[i].rule, all[i].pkg, all[i].run)
		killed, runs = killed+got, runs+n
		if got*100 < n*99 {
			r.faultf("%s: %s %s finds the flaw in %d of %d runs", all[i].rule, all[i].pkg, all[i].run, got, n)
		}
	}
	r.add("mutants", len(all))
	r.add("killed", killed)
	r.add("runs", runs)
	r.add("sec", int(time.Since(began).Seconds()))
	return r, nil
}

// A mutation builds tests.
type mutation struct {
	root, dir string
	built     int
}

// try returns how many of n runs of the test find the mutant. The test must pass
// without it.
func (m *mutation) try(ctx context.Context, mu *mutant, n int) (killed int, err error) {
	path := filepath.Join(m.root, filepath.FromSlash(mu.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if bytes.Count(text, []byte(mu.from)) != 1 {
		return 0, fmt.Errorf("%s does not have %q once", mu.file, mu.from)
	}
	flawed := filepath.Join(m.dir, fmt.Sprintf("%d-%s", m.built, filepath.Base(mu.file)))
	if err := os.WriteFile(flawed, bytes.Replace(text, []byte(mu.from), []byte(mu.to), 1), 0o600); err != nil {
		return 0, err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: flawed}})
	if err != nil {
		return 0, err
	}
	list := flawed + ".json"
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return 0, err
	}
	sound, err := m.build(ctx, mu)
	if err != nil {
		return 0, err
	}
	if output, err := m.runTest(ctx, sound, mu, ""); err != nil || bytes.Count(output, []byte("--- PASS")) < min(2, 1+strings.Count(mu.run, "/")) {
		// A name that nothing has passes, too.
		return 0, errors.Join(fmt.Errorf("the test does not pass without the flaw: %w", err), errors.New(string(output)))
	}
	broken, overlaid := sound, "-overlay="+list
	if mu.child {
		err = m.buildChildren(ctx, overlaid) // what does not build is no flaw
	} else {
		broken, err = m.build(ctx, mu, overlaid)
	}
	if err != nil {
		return 0, err
	}
	var all sync.WaitGroup
	var found, runs atomic.Int64
	for range abreast {
		all.Go(func() {
			for ctx.Err() == nil && runs.Add(1) <= int64(n) {
				// A run that only took too long has found nothing.
				output, err := m.runTest(ctx, broken, mu, overlaid)
				if err != nil && (bytes.Contains(output, []byte("--- FAIL")) || !bytes.Contains(output, []byte("panic: test timed out"))) {
					found.Add(1)
				}
			}
		})
	}
	all.Wait()
	return int(found.Load()), ctx.Err()
}

func (m *mutation) build(ctx context.Context, mu *mutant, flags ...string) (string, error) {
	m.built++
	path := filepath.Join(m.dir, fmt.Sprintf("%d.test", m.built))
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"test", "-c", "-vet=off", "-o", path}, flags...), mu.pkg)...)
	cmd.Dir = m.root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(output)))
	}
	return path, nil
}

// buildChildren builds the children's programs.
func (m *mutation) buildChildren(ctx context.Context, flags string) error {
	cmd := exec.CommandContext(ctx, "go", "build", flags, "-o", os.DevNull, childPackages+"...")
	cmd.Dir = m.root
	output, err := cmd.CombinedOutput()
	if err != nil {
		return errors.Join(err, errors.New(string(output)))
	}
	return nil
}

// runTest runs a test. What that builds is built with flags.
func (m *mutation) runTest(ctx context.Context, test string, mu *mutant, flags string) ([]byte, error) {
	limit := time.Minute
	if mu.child {
		limit *= 5
	}
	cmd := exec.CommandContext(ctx, test, append(mu.flags, "-test.run="+mu.run, "-test.v", "-test.timeout="+limit.String())...)
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" "+flags)
	cmd.Dir = filepath.Join(m.root, filepath.FromSlash(mu.pkg))
	cmd.WaitDelay = 5 * time.Second
	return cmd.CombinedOutput()
}
