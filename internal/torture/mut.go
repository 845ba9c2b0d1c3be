package torture

import (
	"bytes"
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
	About:  "mutants of the source must be found by the tests, each in at least 99 % of its runs",
	Unit:   "runs of each quick test",
	Counts: []string{"mutants", "runs"},
	Short:  1, Full: 100,
	Only: Source,
	run:  mut,
}

// slowRuns is how many runs slow tests have for a hundred runs of quick ones.
const slowRuns = 20

// parallelRuns is how many runs there are at once.
const parallelRuns = 2

// shortMutants is the number of mutants in the short form.
const shortMutants = 2

// mut builds each test with the flaw and without, by an overlay of the Go tool
// so that the source stays as it is, and runs it again and again.
func mut(r *rig) {
	m := &mutation{rig: r, root: moduleDir(r.ctx), dir: must(os.MkdirTemp(r.dir, "mut-"))}
	defer os.RemoveAll(m.dir) // also if a mutant survives: the binaries are large
	all := mutants
	if r.Short {
		all = mutants[:shortMutants]
	}
	killed, runs := 0, 0
	for i := range all {
		n := r.Rounds
		if all[i].slow {
			n = max(1, n*slowRuns/100)
		}
		got := 0
		if err := try(func() { got = m.try(&all[i], n) }); err != nil {
			check(fmt.Errorf("mutant %q: %w", all[i].rule, err))
		}
		fmt.Fprintf(r.Out, "torture: %3d/%-3d %s: %s %s\n", got, n, all[i].rule, all[i].pkg, all[i].run)
		killed, runs = killed+got, runs+n
		if got*100 < n*99 {
			r.result.faultf("%s: %s %s finds the flaw in %d of %d runs", all[i].rule, all[i].pkg, all[i].run, got, n)
		}
	}
	r.result.add("mutants", len(all))
	r.result.add("killed", killed)
	r.result.add("runs", runs)
}

// A mutation builds tests.
type mutation struct {
	*rig
	root, dir string
	built     int
}

// try returns how many of n runs of the test find the mutant. The test must pass
// without it.
func (m *mutation) try(mu *mutant, n int) (killed int) {
	path := filepath.Join(m.root, filepath.FromSlash(mu.file))
	text := must(os.ReadFile(path))
	if bytes.Count(text, []byte(mu.from)) != 1 {
		check(fmt.Errorf("%s does not have %q once", mu.file, mu.from))
	}
	flawed := filepath.Join(m.dir, fmt.Sprintf("%d-%s", m.built, filepath.Base(mu.file)))
	check(os.WriteFile(flawed, bytes.Replace(text, []byte(mu.from), []byte(mu.to), 1), 0o600))
	list := flawed + ".json"
	check(os.WriteFile(list, must(json.Marshal(map[string]map[string]string{"Replace": {path: flawed}})), 0o600))
	sound := m.build(mu)
	if output, err := m.runTest(sound, mu, ""); err != nil || bytes.Count(output, []byte("--- PASS")) < min(2, 1+strings.Count(mu.run, "/")) {
		// A name that matches no test passes, too.
		check(errors.Join(fmt.Errorf("the test does not pass without the flaw: %w", err), errors.New(string(output))))
	}
	broken, overlaid := sound, "-overlay="+list
	if mu.child {
		// A flaw must build.
		m.goTool("build", overlaid, "-o", os.DevNull, childPackages+"...")
	} else {
		broken = m.build(mu, overlaid)
	}
	var all sync.WaitGroup
	var found, runs atomic.Int64
	for range parallelRuns {
		all.Go(func() {
			for m.ctx.Err() == nil && runs.Add(1) <= int64(n) {
				// A run that only timed out has found nothing.
				output, err := m.runTest(broken, mu, overlaid)
				if err != nil && (bytes.Contains(output, []byte("--- FAIL")) || !bytes.Contains(output, []byte("panic: test timed out"))) {
					found.Add(1)
				}
			}
		})
	}
	all.Wait()
	check(m.ctx.Err())
	return int(found.Load())
}

// build builds the mutant's test.
func (m *mutation) build(mu *mutant, flags ...string) (path string) {
	m.built++
	path = filepath.Join(m.dir, fmt.Sprintf("%d.test", m.built))
	m.goTool(append(append([]string{"test", "-c", "-vet=off", "-o", path}, flags...), mu.pkg)...)
	return path
}

func (m *mutation) goTool(args ...string) {
	cmd := exec.CommandContext(m.ctx, "go", args...)
	cmd.Dir = m.root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if output, err := cmd.CombinedOutput(); err != nil {
		check(errors.Join(err, errors.New(string(output))))
	}
}

// runTest runs a test. The programs that the test builds are built with flags.
func (m *mutation) runTest(test string, mu *mutant, flags string) ([]byte, error) {
	limit := time.Minute
	if mu.child {
		limit *= 5
	}
	cmd := exec.CommandContext(m.ctx, test, append(mu.flags, "-test.run="+mu.run, "-test.v", "-test.timeout="+limit.String())...)
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" "+flags)
	cmd.Dir = filepath.Join(m.root, filepath.FromSlash(mu.pkg))
	cmd.WaitDelay = 5 * time.Second
	return cmd.CombinedOutput()
}
