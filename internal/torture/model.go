package torture

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

var modelTest = &Test{
	ID:     "model",
	About:  "random programs over the whole contract run on a store and on a small model, which must answer the same",
	Unit:   "steps",
	Counts: []string{"programs", "steps"},
	Short:  600,
	Full:   1_000_000,
	Memory: true,
	run:    modelled,
}

// modelled runs the test of the store's package, which has the programs: they
// are made short when they fail, as only tests can.
func modelled(ctx context.Context, c Config) (r Result, err error) {
	began := time.Now()
	pkg, run := "./backend/sqlite/"+c.Driver, "^Test$/^Model$"
	if c.Driver == Memory {
		pkg, run = "./internal/torture/model", "^TestMemory$"
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/plainjobs/plainjobs").Output()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=24h", "-run="+run, "-v", pkg)
	cmd.Dir = strings.TrimSpace(string(root))
	cmd.Env = append(os.Environ(), fmt.Sprint("PLAINJOBS_MODEL_STEPS=", c.Rounds), fmt.Sprint("PLAINJOBS_MODEL_SEED=", c.Seed))
	if c.Dir != "" {
		cmd.Env = append(cmd.Env, "TMPDIR="+c.Dir)
	}
	if c.Minutes > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("PLAINJOBS_MODEL_SECONDS=", int(c.Minutes*60)))
	}
	if err := r.hearTest(ctx, cmd, "model: ", "    "); err != nil {
		return r, err
	}
	if len(r.fields) == 0 && len(r.Faults) == 0 {
		return r, &Skip{"the tests of " + pkg + " do not run here"}
	}
	r.add("sec", int(time.Since(began).Seconds()))
	return r, nil
}
