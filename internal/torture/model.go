package torture

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

var modelTest = &Test{
	ID:     "model",
	About:  "random programs over the whole contract run on a store and on a small model, which must answer the same",
	Unit:   "steps",
	Counts: []string{"programs", "steps"},
	Short:  600,
	Full:   1_000_000,
	Memory: true,
	run:    compareModel,
}

// compareModel runs the test in the store's package that compares the store
// with the model. It is a Go test because only tests shrink failing programs.
func compareModel(r *rig) {
	pkg, run := "./backend/sqlite/"+r.Driver, "^Test$/^Model$"
	if r.Driver == Memory {
		pkg, run = "./internal/torture/model", "^TestMemory$"
	}
	cmd := exec.CommandContext(r.ctx, "go", "test", "-count=1", "-timeout=24h", "-run="+run, "-v", pkg)
	cmd.Dir = moduleDir(r.ctx)
	cmd.Env = append(os.Environ(), fmt.Sprint("PLAINJOBS_MODEL_STEPS=", r.Rounds), fmt.Sprint("PLAINJOBS_MODEL_SEED=", r.Seed))
	cmd.Env = append(cmd.Env, "TMPDIR="+r.dir)
	if r.Minutes > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("PLAINJOBS_MODEL_SECONDS=", int(r.Minutes*60)))
	}
	r.runGoTest(r.ctx, cmd, "model: ", "    ")
	if len(r.result.fields) == 0 && len(r.result.Faults) == 0 {
		check(&Skip{"the tests of " + pkg + " do not run here"})
	}
}

// moduleDir returns the directory of the module.
func moduleDir(ctx context.Context) string {
	dir := must(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/plainjobs/plainjobs").Output())
	return strings.TrimSpace(string(dir))
}
