package plainjobs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/plainjobs/plainjobs"

// A goPackage is a package as go list describes it.
type goPackage struct {
	ImportPath, Name                         string
	Imports, TestImports, XTestImports, Deps []string
}

func packages(t *testing.T) (all []goPackage) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Imports,TestImports,XTestImports,Deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// arrows lists the packages of the module that a package may import. A package that is not
// listed may import any.
var arrows = map[string][]string{
	"":                             nil, // see below
	"backend":                      {},
	"backend/check":                {"backend"},
	"backend/internal/audit":       {},
	"backend/internal/group":       {},
	"backend/internal/jsonrow":     {"backend", "backend/lifecycle"},
	"backend/internal/lease":       {"backend"},
	"backend/lifecycle":            {"backend", "backend/check", "internal/histogram"},
	"backend/memory":               {"backend", "backend/check", "backend/lifecycle"},
	"backend/sqlite":               {"backend", "backend/check", "backend/internal/audit", "backend/internal/jsonrow", "backend/lifecycle", "backend/sqlite/internal/host", "internal/latelog"},
	"internal/cron":                {},
	"backend/sqlite/internal/host": {},
	"encrypt":                      {},
	"internal/engine":              {"backend", "backend/check", "backend/lifecycle", "internal/cron", "encrypt"},
	"internal/transfer":            {"backend", "backend/check", "backend/lifecycle", "internal/engine"},
	"internal/latelog":             {},
	"internal/histogram":           {},
	"worker":                       {"", "backend", "backend/lifecycle", "internal/engine", "internal/histogram", "internal/latelog"},
	"conformance":                  {"backend", "backend/check"},
	"plainjobstest":                {"", "backend", "backend/memory", "internal/engine"},
	"internal/doctor":              {"", "backend", "internal/engine", "encrypt"},
	"dashboard":                    {"", "backend", "internal/cron", "internal/doctor", "internal/engine", "internal/histogram", "internal/payload", "encrypt"},
	"internal/payload":             {"", "backend", "internal/engine"},
	"cli":                          {"", "worker", "backend", "backend/check", "dashboard", "internal/cron", "internal/doctor", "internal/engine", "internal/payload"},

	"backend/sqlite/mattn":   {"backend/sqlite"},
	"backend/sqlite/modernc": {"backend/sqlite"},
	"backend/sqlite/ncruces": {"backend/sqlite"},

	"backend/postgres":     {"backend", "backend/check", "backend/internal/audit", "backend/internal/group", "backend/internal/jsonrow", "backend/internal/lease", "backend/internal/sqlstore", "backend/lifecycle", "internal/latelog"},
	"backend/postgres/pgx": {"", "backend/postgres"},

	"backend/mysql":               {"backend", "backend/check", "backend/internal/audit", "backend/internal/group", "backend/internal/jsonrow", "backend/internal/lease", "backend/internal/sqlstore", "backend/lifecycle", "backend/mysql/internal/skew", "internal/latelog"},
	"backend/mysql/internal/skew": {},
}

func init() {
	arrows[""] = []string{"backend", "backend/check", "backend/lifecycle", "internal/engine", "internal/transfer", "encrypt"}
}

// The packages import each other only as arrows says.
func TestImportArrows(t *testing.T) {
	drivers := []string{"github.com/mattn/go-sqlite3", "modernc.org/sqlite", "github.com/ncruces/go-sqlite3", "github.com/jackc/pgx/v5", "github.com/go-sql-driver/mysql"}
	isDriver := func(path string) bool {
		return slices.ContainsFunc(drivers, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") })
	}
	found := 0
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		allowed, fixed := arrows[name]
		if fixed {
			found++
		}
		for _, path := range p.Imports {
			rest, ours := strings.CutPrefix(path, module)
			rest = strings.TrimPrefix(rest, "/")
			if ours && fixed && !slices.Contains(allowed, rest) {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
			test := strings.HasSuffix(name, "test") || strings.Contains(name, "/internal/")
			if rest == "conformance" && ours && !test {
				t.Errorf("%s imports the conformance suite, which is for tests", p.ImportPath)
			}
			// Only programs and package cli parse command lines.
			if strings.HasPrefix(path, "github.com/spf13/") && name != "cli" && p.Name != "main" {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
			torture := strings.HasPrefix(name, "internal/torture/child/") // breaks a driver on purpose
			if isDriver(path) && p.Name != "main" && !torture &&
				!strings.HasPrefix(name, "backend/sqlite/") && !strings.HasPrefix(name, "backend/postgres/") && !strings.HasPrefix(name, "backend/mysql") {
				t.Errorf("%s imports the driver %s", p.ImportPath, path)
			}
		}
		// A program that uses these packages links no driver that it does not import.
		if slices.Contains([]string{"", "worker", "backend/sqlite", "backend/postgres", "backend/memory", "cli"}, name) {
			for _, path := range p.Deps {
				if isDriver(path) {
					t.Errorf("%s depends on %s", p.ImportPath, path)
				}
			}
			// Only the root package asks whether it runs in a test; see intest.go.
			if name != "" && slices.Contains(p.Imports, "testing") {
				t.Errorf("%s imports testing", p.ImportPath)
			}
		}
		if name == "backend" {
			for _, path := range p.Deps {
				if strings.Contains(strings.Split(path, "/")[0], ".") {
					t.Errorf("package backend depends on %s, which is not in the standard library", path)
				}
			}
		}
	}
	if found != len(arrows) {
		t.Errorf("found %d of %d packages", found, len(arrows))
	}
}
