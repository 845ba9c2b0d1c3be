package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

var simTest = &Test{
	ID:     "sim",
	About:  "workers, schedules and retries run over simulated days",
	Unit:   "days",
	Counts: []string{"days", "runs"},
	Short:  14, Full: 365,
	Only: Memory,
	run:  sim,
}

// simTime is how long a simulation may take.
const simTime = 5 * time.Minute

// sim runs the test of package sim, as time is simulated in tests only.
func sim(ctx context.Context, c Config) (r Result, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, simTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-run=^TestYear$", "github.com/plainjobs/plainjobs/internal/torture/sim", "-v")
	cmd.Env = append(os.Environ(), fmt.Sprint("PLAINJOBS_SIM_DAYS=", c.Rounds), fmt.Sprint("PLAINJOBS_SIM_SEED=", c.Seed))
	if err := r.hearTest(ctx, cmd, "sim: ", "    sim_test.go:"); err != nil {
		return r, err
	}
	r.add("sec", int(time.Since(began).Seconds()))
	return r, nil
}

// hearTest runs a Go test and takes over the figures that it prints after a
// word, and the faults that stand after another.
func (r *Result) hearTest(ctx context.Context, cmd *exec.Cmd, word, fault string) error {
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for line := range strings.Lines(string(output)) {
		if figures, ok := strings.CutPrefix(line, word); ok {
			for _, f := range strings.Fields(figures) {
				key, value, _ := strings.Cut(f, "=")
				r.add(key, value)
			}
		} else if err != nil && strings.HasPrefix(line, fault) {
			r.faultf("%s", strings.TrimSpace(line))
		}
	}
	if err != nil && len(r.Faults) == 0 {
		return errors.Join(err, errors.New(string(bytes.TrimSpace(output))))
	}
	return nil
}
