package plainjobs_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// The package's documentation fits on a few screens, and every package has a
// comment that is more than its name.
func TestPackageComments(t *testing.T) {
	out, err := exec.Command("go", "doc", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out, []byte("\n")); n > 120 {
		t.Errorf("go doc prints %d lines, which is more than 120", n)
	}
	for _, pkg := range []string{"backend", "backend/memory", "backend/sqlite", "backend/sqlite/modernc", "backend/sqlite/ncruces",
		"backend/postgres", "backend/postgres/pgx", "conformance", "worker", "cli", "plainjobstest"} {
		out, err := exec.Command("go", "doc", "./"+pkg).Output()
		if err != nil {
			t.Fatalf("go doc %s: %v", pkg, err)
		}
		_, comment, _ := strings.Cut(string(out), "\n\nPackage ")
		if words := len(strings.Fields(comment)); words < 40 {
			t.Errorf("the comment of package %s has %d words", pkg, words)
		}
	}
}
