package migrate

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/internal/adopt"
)

// packages are the npm packages of the script.
var packages = []string{"plainjob@0.0.14", "node-sqlite3-wasm@0.8.60"}

// missing skips the test, which must not happen in CI.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func TestPlainjob(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		missing(t, "there is no npm, which gets plainjob")
	}
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join("testdata", "plainjob.mjs"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "plainjob.mjs"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir, c.Stderr = dir, os.Stderr
		out, err := c.Output()
		if err != nil {
			missing(t, name+" "+strings.Join(args, " ")+": "+err.Error())
		}
		return strings.TrimSpace(string(out))
	}
	run("npm", append([]string{"install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"}, packages...)...)
	path := filepath.Join(dir, "app.db")
	if counts := run("node", "plainjob.mjs", path); counts != "[1001,5,5,5]" {
		t.Fatalf("plainjob has %s jobs", counts)
	}

	db := openFile(t, path)
	store := openStore(t, path)
	report := adoptBroken(t, db, store, "plainjob", adopt.Options{})
	equal(t, "adopted", report.Adopted, map[string]int64{"mail": 700, "later": 300})
	equal(t, "left", report.Left, map[string]int64{
		"running": 5, "done": 5, "failed": 5, `the name "strange name" is not one that plainjobs accepts: rename it`: 1,
	})
	if !maps.Equal(report.Schedules, map[string]string{"report": "0 6 * * 1-5"}) {
		t.Errorf("the schedules are %v", report.Schedules)
	}
	all := stored(t, store)
	if left := count(t, db, "SELECT count(*) FROM plainjob_jobs"); left != 16 || len(all) != 1000 {
		t.Errorf("%d rows are left and %d are jobs", left, len(all))
	}
	numbers(t, all, "mail", 700)
	numbers(t, all, "later", 300)
	if j := find(t, all, "mail", 1); j.MaxAttempts != 1 || j.State.String() != "pending" {
		t.Errorf("mail 1 is %+v", j)
	}
	if j := find(t, all, "later", 1); !near(j.RunAt, time.Now().Add(time.Hour)) {
		t.Errorf("later 1 runs at %v", j.RunAt)
	}
	report, err = adopt.Run(t.Context(), db, store, "plainjob", adopt.Options{Rename: map[string]string{"strange name": "strange"}, Attempts: 25})
	if err != nil || report.Adopted["strange"] != 1 {
		t.Errorf("adopted %v, %v", report.Adopted, err)
	}
}
