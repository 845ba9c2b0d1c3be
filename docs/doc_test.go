package docs_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The documentation of the package fits on a few screens. Each package has a comment of
// more than a few words.
func TestPackageComments(t *testing.T) {
	doc := func(pkg string) []byte {
		c := exec.Command("go", "doc", pkg)
		c.Env = append(os.Environ(), "GOWORK=off") // go doc would change go.work.sum
		out, err := c.Output()
		if err != nil {
			t.Fatalf("go doc %s: %v", pkg, err)
		}
		return out
	}
	out := doc(".")
	if n := bytes.Count(out, []byte("\n")); n >= 170 {
		t.Errorf("go doc prints %d lines, which is not less than 170", n)
	}
	for _, pkg := range []string{"backend", "backend/memory", "backend/sqlite", "backend/sqlite/modernc", "backend/sqlite/ncruces",
		"backend/mysql", "backend/postgres", "backend/postgres/pgx", "conformance", "worker", "cli", "plainjobstest"} {
		_, comment, _ := strings.Cut(string(doc("./"+pkg)), "\n\nPackage ")
		if words := len(strings.Fields(comment)); words < 40 {
			t.Errorf("the comment of package %s has %d words", pkg, words)
		}
	}
}
