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

// sim runs the test of package sim: only tests can simulate time.
func sim(r *rig) {
	ctx, cancel := context.WithTimeout(r.ctx, simTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-run=^TestYear$", "github.com/plainjobs/plainjobs/internal/torture/sim", "-v")
	cmd.Env = append(os.Environ(), fmt.Sprint("PLAINJOBS_SIM_DAYS=", r.Rounds), fmt.Sprint("PLAINJOBS_SIM_SEED=", r.Seed))
	r.runGoTest(ctx, cmd, "sim: ", "    sim_test.go:")
}

// runGoTest runs a Go test. It adds the figures that the test prints after word,
// and the faults that it prints after fault.
func (r *rig) runGoTest(ctx context.Context, cmd *exec.Cmd, word, fault string) {
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.CombinedOutput()
	check(ctx.Err())
	for line := range strings.Lines(string(output)) {
		if figures, ok := strings.CutPrefix(line, word); ok {
			for _, f := range strings.Fields(figures) {
				key, value, _ := strings.Cut(f, "=")
				r.result.add(key, value)
			}
		} else if err != nil && strings.HasPrefix(line, fault) {
			r.result.faultf("%s", strings.TrimSpace(line))
		}
	}
	if err != nil && len(r.result.Faults) == 0 {
		check(errors.Join(err, errors.New(string(bytes.TrimSpace(output)))))
	}
}
